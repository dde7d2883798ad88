"""Histories to be written by versioned-hdf5 and by vh5d alike, and the values that they must have.

Both have the same interface, so one function writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

State = dict[str, np.ndarray]

FIRST = "__first_version__"
THEIR_ATTRIBUTES = {"chunks", "raw_data"}


@dataclass(frozen=True)
class Kind:
    """A kind of dataset.

    Attributes
    ----------
    most
        The longest that each axis gets.
    """

    path: str
    dtype: Any
    chunks: tuple[int, ...]
    most: tuple[int, ...]
    fillvalue: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def fill(self) -> Any:
        if self.dtype is str:
            return b""
        return 0 if self.fillvalue is None else self.fillvalue

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.fill, object if self.dtype is str else self.dtype)

    def value(self, number: int) -> Any:
        return f"é{number % 5}".encode() if self.dtype is str else number


KINDS = {
    kind.path: kind
    for kind in (
        Kind("plain", "<f8", (5,), (23,)),
        Kind("group/cube", "<i2", (3, 4, 4), (7, 9, 5), None, {"compression": "gzip"}),
        Kind("strings", str, (4,), (11,)),
        Kind("sparse", "<f4", (8,), (60,), 3.0),
        Kind("group/wide", ">i4", (2, 3), (5, 8), None, {"shuffle": True, "compression": "lzf"}),
    )
}


@dataclass(frozen=True)
class Edit:
    """What is done to a dataset; `what` is one of create, write, resize, delete."""

    what: str
    path: str
    shape: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    number: int = 0

    @property
    def region(self) -> tuple[slice, ...]:
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))


@dataclass(frozen=True)
class Version:
    """A version, what is done in it, and what it then holds."""

    name: str
    previous: str
    edits: tuple[Edit, ...]
    state: State


@st.composite
def histories(draw: st.DrawFn, *, most: int = 5) -> list[Version]:
    """Draw a history, branches included."""
    made: list[Version] = []
    for number in range(draw(st.integers(1, most))):
        previous = made[draw(st.integers(max(0, number - 2), number - 1))] if number else None
        state = dict(previous.state) if previous else {}
        edits = draw_edits(draw, state, f"{number}")
        name = previous.name if previous else FIRST
        made.append(Version(f"v{number}", name, tuple(edits), state))
    return made


def draw_edits(draw: st.DrawFn, state: State, salt: str) -> list[Edit]:
    """Draw what to do to a state, which changes accordingly."""
    edits: list[Edit] = []
    for path in draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4, unique=True)):
        kind = KINDS[path]
        if path not in state:
            shape = tuple(draw(st.integers(1, n)) for n in kind.most)
            edits.append(Edit("create", path, shape))
            state[path] = kind.empty(shape)
        elif draw(st.integers(0, 5)) == 0:
            edits.append(Edit("delete", path))
            del state[path]
            continue
        elif draw(st.booleans()):
            shape = tuple(draw(st.integers(1, n)) for n in kind.most)
            edits.append(Edit("resize", path, shape))
            state[path] = resized(kind, state[path], shape)
        for _ in range(draw(st.integers(0, 2))):
            start = tuple(draw(st.integers(0, n - 1)) for n in state[path].shape)
            shape = tuple(
                draw(st.integers(1, n - a)) for a, n in zip(start, state[path].shape, strict=True)
            )
            edit = Edit("write", path, shape, start, draw(st.integers(0, 9)))
            edits.append(edit)
            state[path] = state[path].copy()
            state[path][edit.region] = kind.value(edit.number)
    return edits


def resized(kind: Kind, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return what h5py makes of values when it resizes them."""
    made = kind.empty(shape)
    common = tuple(slice(min(a, b)) for a, b in zip(values.shape, shape, strict=True))
    made[common] = values[common]
    return made


def apply(group: Any, edits: tuple[Edit, ...]) -> None:
    """Do it."""
    for edit in edits:
        kind = KINDS[edit.path]
        if edit.what == "create":
            group.create_dataset(
                edit.path,
                shape=edit.shape,
                dtype=h5py.string_dtype() if kind.dtype is str else kind.dtype,
                chunks=kind.chunks,
                data=None if edit.path == "sparse" else kind.empty(edit.shape),
                fillvalue=kind.fillvalue,
                **kind.options,
            )
            group[edit.path].attrs["made"] = edit.path
        elif edit.what == "delete":
            del group[edit.path]
        elif edit.what == "resize":
            group[edit.path].resize(edit.shape)
        else:
            group[edit.path][edit.region] = kind.value(edit.number)


def write(versioned: Any, history: list[Version]) -> None:
    """Write a history; `versioned` is a VersionedHDF5File, ours or theirs."""
    for version in history:
        previous = "" if version.previous == FIRST else version.previous
        with versioned.stage_version(version.name, prev_version=previous) as group:
            apply(group, version.edits)


def check(versions: h5py.Group, history: list[Version]) -> None:
    """Compare versions, read by plain h5py, with what they must hold."""
    assert set(versions) == {FIRST, *(version.name for version in history)}
    for version in history:
        group = versions[version.name]
        assert group.attrs["prev_version"] == version.previous
        check_state(group, version.state)


def check_state(group: h5py.Group, state: State) -> None:
    """Compare a version."""
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, each: Any) -> None:
        if isinstance(each, h5py.Dataset):
            found[name] = each

    h5py.Group(group.id).visititems(visit)
    assert found.keys() == state.keys()
    for path, values in state.items():
        read = found[path][()]
        assert read.dtype == values.dtype, path
        np.testing.assert_array_equal(read, values, err_msg=f"{group.name}/{path}")
        own = dict(found[path].attrs)
        assert {name: own[name] for name in own.keys() - THEIR_ATTRIBUTES} == {"made": path}
        assert found[path].fillvalue == KINDS[path].fill


@dataclass(frozen=True)
class Content:
    """All that a file's versions hold, read by plain h5py."""

    versions: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, file: h5py.File) -> Content:
        found = {}
        for name, group in file["_version_data/versions"].items():
            if name == FIRST:
                continue
            members: dict[str, Any] = {"/": _attributes(group) - {"sequence"}}

            def visit(path: str, each: Any, members: dict[str, Any] = members) -> None:
                values = each[()] if isinstance(each, h5py.Dataset) else None
                listed = None if values is None else (str(values.dtype), values.tolist())
                members[path] = (listed, _attributes(each) - THEIR_ATTRIBUTES)

            group.visititems(visit)
            members["attributes"] = {
                key: value for key, value in group.attrs.items() if key != "sequence"
            }
            found[name] = members
        return cls(found)

    def without(self, *names: str) -> Content:
        kept = {name: each for name, each in self.versions.items() if name not in names}
        return Content(kept)


def _attributes(each: Any) -> set[str]:
    return set(each.attrs)
