"""What an index selects: for each axis, which elements, and in which chunks they lie.

Only what every h5py accepts is understood here; for the rest `parse` returns None, and h5py
itself is asked, which then raises or reads as it always does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from ndindex import (
    BooleanArray,
    Integer,
    IntegerArray,
    Newaxis,
    Slice,
    Tuple,
    ellipsis,
)
from numpy.typing import NDArray

Indices = range | NDArray[np.int64]
# Of ndindex; its own base class is not public.
_INDEX_OBJECTS = (Tuple, Slice, Integer, IntegerArray, BooleanArray, ellipsis, Newaxis)

Taken = int | slice | NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """Elements selected along one axis.

    Parameters
    ----------
    indices
        Their indices, strictly increasing, none negative.
    scalar
        Whether the axis is dropped from the result.
    """

    indices: Indices
    scalar: bool = False

    def __len__(self) -> int:
        return len(self.indices)

    def within(self, low: int, high: int) -> slice:
        """Return the positions, in the selection, of the elements in [low, high)."""
        if isinstance(self.indices, range):
            start, step, n = self.indices.start, self.indices.step, len(self.indices)
            first, last = -(-(low - start) // step), -(-(high - start) // step)
            return slice(min(max(first, 0), n), min(max(last, 0), n))
        first, last = np.searchsorted(self.indices, (low, high))
        return slice(int(first), int(last))

    def take(self, positions: slice, origin: int = 0) -> slice | NDArray[np.int64]:
        """Return the indices at these positions, counted from `origin`, as h5py takes them."""
        part = self.indices[positions]
        if isinstance(part, range):
            if not len(part):
                return slice(0, 0)
            return slice(part[0] - origin, part[-1] + 1 - origin, part.step)
        return part - origin

    def index(self) -> Taken:
        """Return the index that selects the same, whatever the length of the axis."""
        return int(self.indices[0]) if self.scalar else self.take(slice(0, len(self)))

    def chunks(self, size: int) -> Sequence[int]:
        """Return the numbers, increasing, of the chunks of this size that hold the elements."""
        if not len(self.indices):
            return range(0)
        if isinstance(self.indices, range) and self.indices.step <= size:
            return range(self.indices[0] // size, self.indices[-1] // size + 1)
        return [int(number) for number in np.unique(np.asarray(self.indices) // size)]

    def partial(self, size: int, length: int) -> Sequence[int]:
        """Return the numbers of the chunks of which not every element is selected.

        Parameters
        ----------
        size
            Length of a chunk.
        length
            Length of the axis; the last chunk ends there.
        """
        if isinstance(self.indices, range) and self.indices.step == 1 and len(self.indices):
            first, last = self.indices[0], self.indices[-1] + 1
            ends = {first // size} if first % size else set()
            if last % size and last != length:
                ends.add(last // size)
            return sorted(ends)
        numbers, counts = np.unique(np.asarray(self.indices) // size, return_counts=True)
        whole = np.minimum((numbers + 1) * size, length) - numbers * size
        return [int(number) for number in numbers[counts < whole]]


@dataclass(frozen=True)
class Selection:
    """Elements selected: the product of what is selected along each axis."""

    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the selection, with axes of length 1 for single indices."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for axis in self.axes:
            n *= len(axis)
        return n

    def index(self) -> tuple[Taken, ...]:
        """Return the index that selects the same, without negative numbers or ellipsis."""
        return tuple(axis.index() for axis in self.axes)

    def within(self, low: Sequence[int], high: Sequence[int]) -> tuple[slice, ...]:
        """Return the positions, in the selection, of the elements in the box [low, high)."""
        return tuple(axis.within(*span) for axis, *span in zip(self.axes, low, high, strict=True))

    def take(
        self, positions: Sequence[slice], origin: Sequence[int] | None = None
    ) -> tuple[slice | NDArray[np.int64], ...]:
        """Return the index of the elements at these positions, counted from `origin`."""
        start = origin if origin is not None else (0,) * len(self.axes)
        return tuple(
            axis.take(where, at)
            for axis, where, at in zip(self.axes, positions, start, strict=True)
        )


def plain(args: Any) -> tuple[Any, ...]:
    """Return an index as a tuple, `ndindex` objects made what they stand for."""
    if isinstance(args, _INDEX_OBJECTS):
        args = args.raw
    if not isinstance(args, tuple):
        return (args,)
    return tuple(arg.raw if isinstance(arg, _INDEX_OBJECTS) else arg for arg in args)


def split_names(args: tuple[Any, ...]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the field names in an index, and the index without them."""
    names = tuple(arg for arg in args if isinstance(arg, str))
    return names, tuple(arg for arg in args if not isinstance(arg, str)) if names else args


def mask_of(args: tuple[Any, ...], shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return the boolean mask of all elements that this index is, or None if it is not one."""
    if len(args) == 1 and isinstance(args[0], np.ndarray):
        mask: NDArray[np.bool_] = args[0]
        if mask.dtype.kind == "b" and mask.shape == shape:
            return mask
    return None


def parse(args: tuple[Any, ...], shape: tuple[int, ...]) -> Selection | None:
    """Return what an index selects, or None where only h5py can tell.

    Parameters
    ----------
    args
        The index without field names.
    shape
        Of the dataset; not ().
    """
    ellipses = sum(arg is Ellipsis for arg in args)
    missing = len(shape) - len(args) + ellipses
    if ellipses > 1 or missing < 0:
        return None
    if len(shape) == 1:
        mask = mask_of(args, shape)
        if mask is not None:
            return Selection((Axis(np.flatnonzero(mask)),))
    spread: list[Any] = []
    for arg in args:
        spread.extend([slice(None)] * missing if arg is Ellipsis else [arg])
    spread.extend([slice(None)] * (len(shape) - len(spread)))
    axes = []
    for arg, length in zip(spread, shape, strict=True):
        axis = _axis(arg, length)
        # Of one axis, h5py takes a mask as the only argument, not a list of truth values.
        if axis is None or (len(shape) == 1 and _boolean(arg)):
            return None
        axes.append(axis)
    # h5py takes one list of indices.
    if sum(not isinstance(axis.indices, range) for axis in axes) > 1:
        return None
    return Selection(tuple(axes))


def _axis(arg: Any, length: int) -> Axis | None:
    if isinstance(arg, int | np.integer) and not isinstance(arg, bool):
        index = int(arg) + length if arg < 0 else int(arg)
        return Axis(range(index, index + 1), scalar=True) if 0 <= index < length else None
    if isinstance(arg, slice):
        return _slice(arg, length)
    if isinstance(arg, h5py.MultiBlockSlice):
        return _blocks(arg, length)
    if isinstance(arg, list | tuple | range | np.ndarray):
        return _indices(arg, length)
    return None


def _boolean(arg: Any) -> bool:
    return isinstance(arg, list | tuple | np.ndarray) and np.asarray(arg).dtype.kind == "b"


def _slice(arg: slice, length: int) -> Axis | None:
    try:
        start, stop, step = arg.indices(length)
    except (TypeError, ValueError):
        return None
    return Axis(range(start, max(start, stop), step)) if step > 0 else None


def _blocks(arg: h5py.MultiBlockSlice, length: int) -> Axis | None:
    try:
        start, stride, count, block = arg.indices(length)
    except (TypeError, ValueError):
        return None
    if count == 1 or stride == block:
        return Axis(range(start, start + count * block))
    if block == 1:
        return Axis(range(start, start + (count - 1) * stride + 1, stride))
    starts = start + stride * np.arange(count, dtype=np.int64)
    return Axis((starts[:, np.newaxis] + np.arange(block)).ravel())


def _indices(arg: Any, length: int) -> Axis | None:
    try:
        indices = np.asarray(arg)
    except (TypeError, ValueError):
        return None
    if not indices.size and not isinstance(arg, np.ndarray):
        indices = indices.astype(np.int64)
    if indices.ndim != 1 or indices.dtype.kind not in "iub":
        return None
    if indices.dtype.kind == "b":
        return Axis(np.flatnonzero(indices)) if len(indices) == length else None
    indices = indices.astype(np.int64)
    indices = np.where(indices < 0, indices + length, indices)
    if len(indices) and (indices[0] < 0 or indices[-1] >= length or (np.diff(indices) <= 0).any()):
        return None
    return Axis(indices)
