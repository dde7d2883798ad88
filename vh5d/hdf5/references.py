"""Object and region references inside values: what they point at, and pointing them elsewhere.

An object reference is the address of an object header; a region reference names a heap object that
holds an address and a selection (HDF5 File Format Specification, IV.A.2.d, class 7). Neither means
anything in another file, so a copy's are written anew: the same place in the copy's own tree, or
null when there is none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5 import native
from vh5d.hdf5.address import address_of
from vh5d.hdf5.dataspace import selection_of
from vh5d.hdf5.element_type import Layout, Leaf

Translate = Callable[[int], int | None]
"""From the address of an object in the source to its copy's in the target; None: there is none."""

_NULL_REGION = bytes(native.REGION_REFERENCE_NBYTES)
H5PY_ERRORS = (RuntimeError, OSError, ValueError, KeyError, TypeError)
"""What h5py raises when HDF5 reports an error."""


def leaves(layout: Layout, address: int, count: int) -> Iterator[tuple[Leaf, NDArray[Any]]]:
    """Walk values in memory.

    Parameters
    ----------
    layout
        Layout of one value.
    address
        Where in memory the first one is.
    count
        Number of values.

    Yields
    ------
    tuple
        What it is, and a writable view of it in all values: ``V`` bytes for plain parts and region
        references, addresses for object references, pointers for strings, lengths for sequences
        (their elements follow, one sequence after another).
    """
    memory = (ctypes.c_char * (layout.dtype.itemsize * count)).from_address(address)
    values = np.ndarray(count, layout.dtype, memoryview(memory).cast("B"))
    for part in layout.parts:
        field = values
        for name in part.path:
            field = field[name]
        if part.element is None:
            yield part.leaf, field
            continue
        lengths, pointers = field["length"].ravel(), field["pointer"].ravel()
        yield Leaf.SEQUENCE, lengths
        for length, pointer in zip(lengths.tolist(), pointers.tolist(), strict=True):
            if length:
                yield from leaves(part.element, pointer, length)


def region_target(loc: Any, reference: bytes) -> tuple[int, tuple[object, ...]] | None:
    """Return the address and the selection that a region reference names; None: neither.

    Parameters
    ----------
    loc
        Any identifier in the reference's file.
    reference
        Its 12 bytes.
    """
    if reference == _NULL_REGION:
        return None
    try:
        dataset, space = native.open_region(loc, reference)
        return address_of(dataset), selection_of(space)
    except H5PY_ERRORS:  # it dangles: its dataset was deleted
        return None


class Translator:
    """Points references of values that came from one file into another.

    Parameters
    ----------
    source
        Any identifier in the file that the references are of.
    target
        Any identifier in the file they shall be of.
    translate
        See `Translate`.

    Attributes
    ----------
    lost
        How many references point at nothing in the target and were made null.
    """

    def __init__(self, source: Any, target: Any, translate: Translate) -> None:
        self._source = source
        self._target = target
        self._translate = translate
        self.lost = 0

    def rewrite(self, layout: Layout, address: int, count: int) -> None:
        """Translate the references of `count` values in memory, where they are."""
        for leaf, field in leaves(layout, address, count):
            if leaf is Leaf.OBJECT:
                self._rewrite_objects(field)
            elif leaf is Leaf.REGION:
                self._rewrite_regions(field)

    def _rewrite_objects(self, field: NDArray[Any]) -> None:
        addresses, where = np.unique(field, return_inverse=True)
        new = np.zeros(addresses.shape, np.uint64)
        for i, old in enumerate(addresses.tolist()):
            target = self._translate(old) if old else None
            if target is not None:
                new[i] = target
            elif old:
                self.lost += int(np.count_nonzero(field == old))
        field[...] = new[where].reshape(field.shape)

    def _rewrite_regions(self, field: NDArray[Any]) -> None:
        for index in np.ndindex(field.shape):
            old = field[index].tobytes()
            if old != _NULL_REGION:
                field[index] = np.void(self._region(old))

    def _region(self, reference: bytes) -> bytes:
        try:
            dataset, space = native.open_region(self._source, reference)
        except H5PY_ERRORS:  # it dangled in the source already
            self.lost += 1
            return _NULL_REGION
        target = self._translate(address_of(dataset))
        if target is None:
            self.lost += 1
            return _NULL_REGION
        return native.create_region(native.open_object(self._target, target), space)
