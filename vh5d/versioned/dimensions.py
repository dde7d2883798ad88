"""Dimension scales of a version's datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py


class Dimension:
    """One dimension of a dataset: h5py's, whose scales are datasets of the version."""

    def __init__(self, dataset: Any, inner: Any) -> None:
        self._dataset = dataset
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def label(self) -> str:
        """Label of the dimension."""
        text: str = self._inner.label
        return text

    @label.setter
    def label(self, text: str) -> None:
        self._dataset.check_writable()
        self._inner.label = text

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dimension) and bool(self._inner == other._inner)

    def __hash__(self) -> int:
        return hash(self._inner)

    def __repr__(self) -> str:
        return repr(self._inner)

    def __getitem__(self, item: Any) -> h5py.Dataset:
        return self._dataset.same_kind(self._inner[item])

    def attach_scale(self, dset: h5py.Dataset) -> None:
        """Attach a scale to the dimension."""
        self._dataset.check_writable()
        self._inner.attach_scale(dset)

    def detach_scale(self, dset: h5py.Dataset) -> None:
        """Detach a scale from the dimension."""
        self._dataset.check_writable()
        self._inner.detach_scale(dset)

    def items(self) -> list[tuple[str, h5py.Dataset]]:
        """Return names and scales."""
        return [(name, self._dataset.same_kind(scale)) for name, scale in self._inner.items()]

    def values(self) -> list[h5py.Dataset]:
        """Return the scales."""
        return [scale for _, scale in self.items()]


class Dimensions:
    """The dimensions of a dataset, as h5py's `Dataset.dims` has them."""

    def __init__(self, dataset: Any, inner: Any) -> None:
        self._dataset = dataset
        self._inner = inner

    def __getitem__(self, index: int) -> Dimension:
        return Dimension(self._dataset, self._inner[index])

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[Dimension]:
        return (Dimension(self._dataset, each) for each in self._inner)

    def __repr__(self) -> str:
        return repr(self._inner)

    def create_scale(self, dset: h5py.Dataset, name: str = "") -> None:
        """Make a dataset a scale."""
        dset.make_scale(name)
