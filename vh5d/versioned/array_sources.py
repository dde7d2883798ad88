"""What lies below a staged array: a dataset of HDF5, or an array of NumPy's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.versioned.indexing import Selection, parse, split_names


class Source(Protocol):
    """Elements to be read where nothing was changed."""

    shape: tuple[int, ...]

    def read(self, args: tuple[Any, ...], new_dtype: Any = None) -> Any:
        """Return what h5py would, or `NotImplemented` if only HDF5 can tell."""
        ...

    def block(self, region: Sequence[slice]) -> NDArray[Any]:
        """Return a box of elements, as a new array or a view that must not be changed."""
        ...


class DatasetSource:
    """A dataset of HDF5."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape

    def read(self, args: tuple[Any, ...], new_dtype: Any = None) -> Any:
        """Return what h5py does."""
        return read_dataset(self.dataset, args, new_dtype)

    def block(self, region: Sequence[slice]) -> NDArray[Any]:
        """Return a box of elements."""
        values: NDArray[Any] = self.dataset[tuple(region)]
        return values


class ArraySource:
    """An array that nobody else changes, of a plain type of numbers or bytes."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values
        self.shape: tuple[int, ...] = values.shape

    def read(self, args: tuple[Any, ...], new_dtype: Any = None) -> Any:
        """Return what h5py would, where that is certain."""
        names, index = split_names(args)
        selection = parse(index, self.shape)
        if names or new_dtype is not None or selection is None:
            return NotImplemented
        return self._take(selection)

    def block(self, region: Sequence[slice]) -> NDArray[Any]:
        """Return a box of elements; a view."""
        return self.values[tuple(region)]

    def _take(self, selection: Selection) -> Any:
        taken = self.values[selection.index()]
        if not isinstance(taken, np.ndarray):
            return taken
        # An integer beside a list is a list to NumPy, which moves the axis to the front.
        shape = tuple(len(axis) for axis in selection.axes if not axis.scalar)
        if taken.shape != shape or any(not isinstance(a.indices, range) for a in selection.axes):
            full = self.values[selection.take([slice(0, n) for n in selection.shape])]
            taken = full.reshape(shape)
        return taken.copy()


def read_dataset(dataset: h5py.Dataset, args: tuple[Any, ...], new_dtype: Any = None) -> Any:
    """Read elements as h5py does, converted by HDF5 if another type is asked for."""
    return dataset[args] if new_dtype is None else dataset.astype(new_dtype)[args]


def write_block(dataset: h5py.Dataset, region: Sequence[slice], values: NDArray[Any]) -> None:
    """Write a box of elements that were read from a dataset of the same type."""
    if h5py.check_vlen_dtype(dataset.dtype) is not None:
        # Assignment takes an array of arrays of equal length for an array of two dimensions.
        dataset.write_direct(np.ascontiguousarray(values), dest_sel=tuple(region))
    else:
        dataset[tuple(region)] = values


def fill_of(dataset: h5py.Dataset) -> Any:
    """Return the fill value to create a dataset like this one with; None for HDF5's default."""
    # h5py cannot set one for an array type.
    return None if dataset.dtype.subdtype is not None else dataset.fillvalue
