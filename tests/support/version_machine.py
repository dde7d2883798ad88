"""A machine that does to `VersionedHDF5File` whatever may be done, beside arrays in a dict."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import vh5d
from vh5d import VersionedHDF5File
from vh5d.store.layout import FIRST_VERSION

PATHS = ("a", "b", "g/a", "g/h/c")
MOST_VERSIONS = 7
LONGEST = 11
EDITS = ["create", "write", "write", "resize", "resize", "write_array", "set_attribute"]
EDITS += ["set_title", "delete", "link", "copy", "move"]
NEEDS_A_PATH = {"create", "link", "copy", "move"}
BETWEEN = ["delete_versions", "make_current", "reopen", "tidy"]
COMPOUND = np.dtype([("n", "<i4"), ("xy", ">f4", (2,))])


@dataclass(frozen=True)
class Kind:
    """How a dataset is made."""

    dtype: Any
    ndim: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def fill(self) -> Any:
        if self.dtype is str:
            return b""
        return self.options.get("fillvalue", np.zeros((), self.dtype)[()])

    @property
    def numpy(self) -> Any:
        return object if self.dtype is str else np.dtype(self.dtype)

    @property
    def hdf5(self) -> Any:
        return h5py.string_dtype() if self.dtype is str else self.dtype

    def value(self, number: int) -> Any:
        if self.dtype is str:
            return (f"é{number}" * (number % 3)).encode()
        if self.dtype == COMPOUND:
            return np.array((number, (number, -number)), COMPOUND)[()]
        if np.dtype(self.dtype).kind == "S":
            return str(number).encode()
        return np.array(number).astype(self.dtype)[()]


KINDS = (
    Kind("<f8", 1),
    Kind("<f8", 1, {"chunks": (4,)}),
    Kind("<i2", 2, {"chunks": (3, 4), "compression": "gzip", "shuffle": True}),
    Kind("u1", 3, {"chunks": (2, 3, 4), "fletcher32": True}),
    Kind("<i4", 1, {"chunks": (3,), "fillvalue": 7}),
    Kind(">i4", 2, {"chunks": (5, 2), "compression": "lzf", "fillvalue": -1}),
    Kind(str, 1, {"chunks": (4,)}),
    Kind(str, 2, {"chunks": (2, 2), "compression": "gzip"}),
    Kind("S3", 1, {"chunks": (6,)}),
    Kind(COMPOUND, 1, {"chunks": (3,)}),
    Kind("?", 1, {"chunks": (8,)}),
    Kind("<c16", 1),
    Kind("<f4", 0),
    Kind(str, 0),
)


@dataclass(eq=False)
class Model:
    """A dataset as it must be; under two paths it is one object."""

    kind: Kind
    values: np.ndarray
    attributes: dict[str, int] = field(default_factory=dict)


State = dict[str, Model]


@dataclass
class Version:
    """A version as it must be."""

    state: State
    previous: str
    title: int | None


class VersionMachine(RuleBasedStateMachine):
    """Stages, writes, resizes, deletes, branches, aborts, deletes versions, reopens.

    After every step every version must be what the model says; the subclass says who opens the
    file.
    """

    owner = "vh5d"

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="vh5d-machine-"))
        self.path = self.directory / "file.h5"
        self.file: h5py.File | None = None
        self.versions: dict[str, Version] = {}
        self.current = FIRST_VERSION
        self.counter = 0
        self.staging: Any = None
        self.group: Any = None
        self.state: State = {}
        self.title: int | None = None
        self.pending: tuple[str, str, bool] = ("", "", True)
        self.vf = self.open()

    # Opening and closing

    def open(self) -> VersionedHDF5File:
        if self.owner == "vh5d":
            return vh5d.open(self.path, "a")
        self.file = h5py.File(self.path, "a")
        return VersionedHDF5File(self.file)

    def close(self) -> None:
        self.vf.close()
        if self.file is not None:
            self.file.close()

    def teardown(self) -> None:
        if self.staging is not None:
            self.leave(ZeroDivisionError())
        with suppress(ValueError):
            self.close()
        shutil.rmtree(self.directory)

    # Versions

    @initialize(data=st.data(), count=st.integers(1, len(PATHS)))
    def first_version(self, data: st.DataObject, count: int) -> None:
        self.begin(data)
        for _ in range(count):
            self.create(data)
        self.finish(commit=True)

    @precondition(lambda self: self.staging is None)
    @rule(data=st.data(), what=st.sampled_from(["begin"] * 6 + BETWEEN))
    def between(self, data: st.DataObject, what: str) -> None:
        if len(self.versions) < 2 and what in ("delete_versions", "make_current"):
            what = "begin"
        getattr(self, what)(data)

    @precondition(lambda self: self.staging is None)
    @rule(data=st.data())
    def whole_version(self, data: st.DataObject) -> None:
        self.begin(data)
        self.edit(data)
        self.finish(commit=True)

    @precondition(lambda self: self.staging is not None)
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        for _ in range(data.draw(st.integers(1, 3), label="edits")):
            if not self.state:
                self.create(data)
                continue
            what = data.draw(st.sampled_from(EDITS), label="edit")
            if what not in NEEDS_A_PATH or self.free():
                getattr(self, what)(data)

    def begin(self, data: st.DataObject) -> None:
        choices: list[str | None] = [None, None, "", *self.versions]
        previous = data.draw(st.sampled_from(choices), label="previous")
        make_current = data.draw(st.integers(0, 3), label="make current") > 0
        if len(self.versions) >= MOST_VERSIONS:
            self.delete_some([next(iter(self.versions))], together=False)
            previous = previous if previous in self.versions else None
        self.counter += 1
        name = f"v{self.counter}"
        self.staging = self.vf.stage_version(name, previous, make_current)
        self.group = self.staging.__enter__()
        base = self.current if previous is None else previous or FIRST_VERSION
        self.pending = (name, base, make_current)
        before = self.versions.get(base)
        self.state = copy.deepcopy(before.state) if before else {}
        self.title = before.title if before else None

    @precondition(lambda self: self.staging is not None)
    @rule(commit=st.integers(0, 5).map(bool))
    def finish(self, commit: bool) -> None:
        if not commit:
            self.leave(ZeroDivisionError())
            return
        name, base, make_current = self.pending
        self.leave(None)
        self.versions[name] = Version(self.state, base, self.title)
        if make_current:
            self.current = name

    def leave(self, error: Exception | None) -> None:
        staging, self.staging, self.group = self.staging, None, None
        if error is None:
            staging.__exit__(None, None, None)
            return
        with suppress(ZeroDivisionError):
            staging.__exit__(type(error), error, None)

    def delete_versions(self, data: st.DataObject) -> None:
        some = st.lists(st.sampled_from(sorted(self.versions)), min_size=1, max_size=3, unique=True)
        names = data.draw(some, label="versions")
        self.delete_some(names, together=data.draw(st.booleans(), label="together"))

    def delete_some(self, names: list[str], *, together: bool) -> None:
        if together:
            vh5d.delete_versions(self.vf, names)
        for name in names:
            if not together:
                del self.vf[name]
            gone = self.versions.pop(name)
            for version in self.versions.values():
                if version.previous == name:
                    version.previous = gone.previous
            if self.current == name:
                self.current = gone.previous
        if self.current == FIRST_VERSION and self.versions and together:
            self.current = self.vf.current_version

    def make_current(self, data: st.DataObject) -> None:
        self.current = data.draw(st.sampled_from(sorted(self.versions)), label="version")
        self.vf.current_version = self.current

    def reopen(self, _: st.DataObject) -> None:
        self.close()
        with h5py.File(self.path, "r") as file:
            self.check_versions(VersionedHDF5File(file))
        self.vf = self.open()

    def tidy(self, data: st.DataObject) -> None:
        self.close()
        if data.draw(st.booleans(), label="compact"):
            vh5d.compact(self.path)
        else:
            vh5d.prune(self.path, [])
        assert not vh5d.verify(self.path).problems
        self.vf = self.open()

    # Datasets

    def free(self) -> list[str]:
        return [path for path in PATHS if path not in self.state]

    def create(self, data: st.DataObject) -> None:
        path = self.draw_free(data)
        kind = data.draw(st.sampled_from(KINDS), label="kind")
        shape = self.draw_shape(data, kind.ndim)
        values = np.full(shape, kind.fill, kind.numpy)
        if data.draw(st.booleans(), label="with data"):
            values[...] = kind.value(data.draw(st.integers(0, 9)))
            self.group.create_dataset(path, data=values, dtype=kind.hdf5, **kind.options)
        else:
            self.group.create_dataset(path, shape, kind.hdf5, **kind.options)
        self.state[path] = Model(kind, values)

    def draw_shape(self, data: st.DataObject, ndim: int) -> tuple[int, ...]:
        longest = LONGEST if ndim < 3 else 6
        lengths = st.one_of(st.integers(4, longest), st.integers(0, longest))
        return data.draw(st.tuples(*(lengths,) * ndim), label="shape")

    def draw_free(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.free()), label="target")

    def draw_dataset(self, data: st.DataObject) -> tuple[str, Model]:
        path = data.draw(st.sampled_from(sorted(self.state)), label="path")
        return path, self.state[path]

    def write(self, data: st.DataObject) -> None:
        path, model = self.draw_dataset(data)
        index = data.draw(indices(model.values.shape), label="index")
        value = model.kind.value(data.draw(st.integers(0, 9), label="value"))
        if any(isinstance(each, list) for each in index):
            # h5py does not broadcast to such selections, or only to small ones.
            value = np.full(model.values[index].shape, value, model.kind.numpy)
        self.group[path][index] = value
        model.values[index] = value

    def write_array(self, data: st.DataObject) -> None:
        path, model = self.draw_dataset(data)
        values = np.empty(model.values.shape, model.kind.numpy)
        first = data.draw(st.integers(0, 5), label="first")
        for number, place in enumerate(np.ndindex(*values.shape), first):
            values[place] = model.kind.value(number % 10)
        self.group[path][...] = values if values.ndim else values[()]
        model.values[...] = values

    def resize(self, data: st.DataObject) -> None:
        path, model = self.draw_dataset(data)
        if not model.values.ndim:
            return
        shape = self.draw_shape(data, model.values.ndim)
        self.group[path].resize(shape)
        values = np.full(shape, model.kind.fill, model.kind.numpy)
        common = tuple(slice(min(a, b)) for a, b in zip(shape, model.values.shape, strict=True))
        values[common] = model.values[common]
        model.values = values

    def delete(self, data: st.DataObject) -> None:
        path, _ = self.draw_dataset(data)
        del self.group[path]
        del self.state[path]

    def link(self, data: st.DataObject) -> None:
        path, model = self.draw_dataset(data)
        target = self.draw_free(data)
        self.group[target] = self.group[path]
        self.state[target] = model

    def copy(self, data: st.DataObject) -> None:
        path, model = self.draw_dataset(data)
        target = self.draw_free(data)
        self.group.copy(path, target)
        self.state[target] = copy.deepcopy(model)

    def move(self, data: st.DataObject) -> None:
        path, _ = self.draw_dataset(data)
        target = self.draw_free(data)
        self.group.move(path, target)
        self.state[target] = self.state.pop(path)

    def set_attribute(self, data: st.DataObject) -> None:
        path, model = self.draw_dataset(data)
        name = data.draw(st.sampled_from("xy"), label="attribute")
        value = data.draw(st.integers(0, 9), label="value")
        self.group[path].attrs[name] = value
        model.attributes[name] = value

    def set_title(self, data: st.DataObject) -> None:
        value = data.draw(st.integers(0, 9), label="title")
        self.group.attrs["title"] = value
        self.title = value

    # What must hold

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        self.check_versions(self.vf)
        if self.staging is not None:
            self.check_group(self.group, self.state, self.title)

    def check_versions(self, vf: VersionedHDF5File) -> None:
        assert vf.versions == list(self.versions)
        assert vf.current_version == self.current
        for name, version in self.versions.items():
            assert vf[name].attrs["prev_version"] == version.previous
            self.check_group(vf[name], version.state, version.title)

    def check_group(self, group: h5py.Group, state: State, title: int | None) -> None:
        assert group.attrs.get("title") == title
        assert sorted(_datasets(group)) == sorted(state)
        for path, model in state.items():
            found = group[path]
            values = found[()]
            where = f"{group.name}/{path}"
            if model.values.ndim:
                assert values.dtype == model.values.dtype, where
            np.testing.assert_array_equal(values, model.values[()], err_msg=where)
            assert dict(found.attrs) == model.attributes, where


def _datasets(group: h5py.Group, prefix: str = "") -> Iterator[str]:
    for name, each in group.items():
        if isinstance(each, h5py.Group):
            yield from _datasets(each, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}"


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Draw an index that h5py and NumPy take alike."""
    if not shape:
        return ()
    if 0 not in shape and draw(st.integers(0, 5)) == 0:
        axis = draw(st.integers(0, len(shape) - 1))
        rows = st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=4, unique=True)
        return (*(slice(None),) * axis, sorted(draw(rows)))
    return tuple(draw(_along(n)) for n in shape[: draw(st.integers(1, len(shape)))])


def _along(length: int) -> st.SearchStrategy[Any]:
    places = st.integers(0, length)
    some = st.builds(slice, places, places, st.integers(1, 3))
    if not length:
        return some
    return st.one_of(some, st.integers(-length, length - 1), st.just(slice(None)))


class OwnFileMachine(VersionMachine):
    """The same over a user's own h5py.File."""

    owner = "h5py"
