"""Any source, edited in any order: every version's tree and bytes are what they were."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.support.history import History
from vh5d.capture.options import CaptureOptions

NAMES = st.sampled_from(["a", "b", "c", "group/d", "group/e", "group/deep/f"])
TYPES = st.sampled_from(["u1", "<u2", ">i4", "f8", "S5", "c8"])
LAYOUTS = st.sampled_from(["contiguous", "chunked", "gzip", "shuffled", "lzf", "fletcher32"])
SHAPES = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple)
LARGE = st.sampled_from([(300, 11), (7, 90, 30), (20_000,)])


class Editing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.history = History(Path(self.directory.name))
        self.file: h5py.File | None = None
        self.stamp = 0

    def teardown(self) -> None:
        self.close()
        self.history.check()
        self.directory.cleanup()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    @property
    def source(self) -> h5py.File:
        if self.file is None:
            self.file = h5py.File(self.history.source, "a")
        return self.file

    def datasets(self) -> list[h5py.Dataset]:
        found: list[Any] = []
        self.source.visititems(
            lambda _, o: found.append(o) if isinstance(o, h5py.Dataset) else None
        )
        return found

    @rule(name=NAMES, kind=TYPES, layout=LAYOUTS, shape=st.one_of(SHAPES, LARGE))
    def create(self, name: str, kind: str, layout: str, shape: tuple[int, ...]) -> None:
        if name in self.source:
            del self.source[name]
        options: dict[str, Any] = {
            "contiguous": {},
            "chunked": {"chunks": True, "maxshape": (None,) * len(shape)},
            "gzip": {"compression": "gzip", "chunks": tuple(min(7, n) for n in shape)},
            "shuffled": {"shuffle": True, "chunks": True},
            "lzf": {"compression": "lzf", "maxshape": (None, *shape[1:])},
            "fletcher32": {"fletcher32": True, "chunks": tuple(min(5, n) for n in shape)},
        }[layout]
        dataset = self.source.create_dataset(name, shape, kind, **options)
        dataset[...] = self.values(dataset)

    @rule(which=st.integers(0, 20), at=st.floats(0, 1, exclude_max=True))
    def change(self, which: int, at: float) -> None:
        datasets = self.datasets()
        if datasets:
            dataset = datasets[which % len(datasets)]
            row = int(at * dataset.shape[0])
            dataset[row : row + 3] = self.values(dataset)[row : row + 3]

    @rule(which=st.integers(0, 20), extent=st.integers(0, 50))
    def resize(self, which: int, extent: int) -> None:
        datasets = [d for d in self.datasets() if d.maxshape[0] is None]
        if datasets:
            datasets[which % len(datasets)].resize(max(1, extent), axis=0)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name in self.source:
            del self.source[name]

    @rule(name=NAMES, other=NAMES)
    def link(self, name: str, other: str) -> None:
        if name in self.source and other not in self.source:
            self.source[other] = self.source[name]

    @rule(name=NAMES, value=st.one_of(st.integers(-9, 9), st.text("abcäß", max_size=4)))
    def attribute(self, name: str, value: object) -> None:
        if name in self.source:
            self.source[name].attrs["note"] = value

    @rule(name=NAMES, other=NAMES)
    def refer(self, name: str, other: str) -> None:
        if name in self.source and other in self.source:
            self.source[name].attrs["to"] = self.source[other].ref

    @precondition(lambda self: self.file is not None)
    @rule(exact=st.sampled_from([True, True, False]))
    def capture(self, exact: bool) -> None:
        self.close()
        self.history.options = CaptureOptions(exact=exact)
        self.history.capture()
        assert self.history.capture().version is None

    def values(self, dataset: h5py.Dataset) -> np.ndarray[Any, Any]:
        self.stamp += 1
        whole = np.arange(self.stamp, self.stamp + dataset.size).reshape(dataset.shape)
        return (whole % 100).astype(dataset.dtype)


Editing.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
TestRandomHistories = Editing.TestCase
