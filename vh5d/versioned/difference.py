"""What differs in a dataset between two versions, chunk by chunk."""

from __future__ import annotations

from itertools import product
from typing import Any, TypeAlias

import h5py
import ndindex
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.chunk_index import changes
from vh5d.store.datasets import Read, index_of

Values: TypeAlias = NDArray[Any] | None
Difference: TypeAlias = dict[ndindex.Tuple, tuple[Values, Values]]
Place = tuple[int, ...]


def difference(read: Read, one: h5py.Dataset, other: h5py.Dataset) -> Difference:
    """Return the chunks that differ, and their values in both.

    Parameters
    ----------
    read
        Reads the store.
    one, other
        The dataset in two versions, of one rank.
    """
    chunks = other.chunks or one.chunks or other.shape
    if not chunks or one.ndim != other.ndim:
        raise ValueError(f"{one.name} and {other.name} cannot be compared chunk by chunk")
    found: Difference = {}
    for place in _candidates(read, one, other, chunks):
        before, after = _region(place, chunks, one.shape), _region(place, chunks, other.shape)
        if before is not None and before == after:
            old, new = one[before], other[after]
            if not _equal(old, new):
                found[_key(after)] = old, new
            continue
        if after is not None:
            found[_key(after)] = None, other[after]
        if before is not None:
            found[_key(before)] = one[before], None
    return found


def _candidates(
    read: Read, one: h5py.Dataset, other: h5py.Dataset, chunks: tuple[int, ...]
) -> list[Place]:
    """Return places of the chunks that may differ, in row-major order."""
    longest = [max(lengths) for lengths in zip(one.shape, other.shape, strict=True)]
    grid = [range(-(-n // c)) for n, c in zip(longest, chunks, strict=True)]
    if one.chunks != other.chunks or one.dtype != other.dtype:
        return list(product(*grid))
    try:
        places = set(_by_index(read, one, other))
    except StoreDamagedError:  # not an index of ours
        return list(product(*grid))
    for axis, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)):
        if a != b:
            grown = range(min(a, b) // chunks[axis], len(grid[axis]))
            places.update(product(*grid[:axis], grown, *grid[axis + 1 :]))
    return sorted(places)


def _by_index(read: Read, one: h5py.Dataset, other: h5py.Dataset) -> list[Place]:
    a, b = index_of(read, one), index_of(read, other)
    removed, added = changes(read, a.root, a.format, b.root, b.format)
    places = {tuple(place) for each in (removed, added) for place in each.scaled.tolist()}
    return sorted(places)


def _region(
    place: Place, chunks: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[slice, ...] | None:
    region = tuple(
        slice(at * size, min((at + 1) * size, length), 1)
        for at, size, length in zip(place, chunks, shape, strict=True)
    )
    return region if all(part.start < part.stop for part in region) else None


def _key(region: tuple[slice, ...]) -> ndindex.Tuple:
    return ndindex.Tuple(*region)


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype == other.dtype and not one.dtype.hasobject:
        return one.tobytes() == other.tobytes()
    return bool(np.array_equal(one, other))
