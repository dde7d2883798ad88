"""Small values by open identifiers: what every commit reads and writes a dozen times.

h5py's groups, attributes and datasets say the same, and look up a path or make half a dozen
identifiers each time: for a version that changes little that is most of its cost.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Self

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5o, h5p, h5s, h5t
from numpy.typing import NDArray

from vh5d.hdf5.address import link

COMPACT_NBYTES = 4096  # what lies in an object header is written with it


class Number:
    """An attribute that is an integer, and stays open.

    Parameters
    ----------
    loc
        The object's low-level identifier.
    name
        Of the attribute; nobody may delete it to write another.
    """

    def __init__(self, loc: Any, name: bytes) -> None:
        self._attribute = h5a.open(loc, name)

    def read(self) -> int:
        """Return it."""
        value = np.zeros((), np.int64)
        self._attribute.read(value, mtype=h5t.NATIVE_INT64)
        return int(value)

    def write(self, value: int) -> None:
        """Set it."""
        self._attribute.write(np.array(value, np.int64), mtype=h5t.NATIVE_INT64)


def read_text(loc: Any, name: bytes) -> str:
    """Return an attribute that is a text."""
    attribute = h5a.open(loc, name)
    dtype = attribute.dtype
    value = np.zeros((), dtype)
    attribute.read(value, mtype=h5t.py_create(dtype))
    text: bytes = value.item()
    return text.decode("utf-8", "surrogateescape")


def create_attribute(loc: Any, name: bytes, value: str | int | bool) -> None:  # noqa: FBT001
    """Make an attribute as h5py does; there is none of that name."""
    if isinstance(value, str):
        made = h5a.create(loc, name, _text(logical=True), _scalar())
        made.write(np.array(value, h5py.string_dtype()), mtype=_text(logical=False))
    else:
        data = np.array(value)
        stored = h5t.py_create(data.dtype, logical=True)
        h5a.create(loc, name, stored, _scalar()).write(data)


def replace_attribute(loc: Any, name: bytes, value: str | int | bool) -> None:  # noqa: FBT001
    """Make an attribute as h5py does, in the place of one that is there."""
    h5a.delete(loc, name)
    create_attribute(loc, name, value)


def has_attribute(loc: Any, name: bytes, *, path: bytes = b".") -> bool:
    """Whether the object at a path has an attribute of that name."""
    return bool(h5a.exists(loc, name, obj_name=path))


def open_table(group: Any, name: bytes) -> Any | None:
    """Return the DatasetID of a table in a group, None if there is none."""
    return h5d.open(group, name) if group.links.exists(name) else None


def read_rows(table: Any, start: int, count: int, dtype: Any) -> NDArray[Any]:
    """Return some rows of a table (n, k)."""
    space = table.get_space()
    shape = (count, *space.get_simple_extent_dims()[1:])
    rows = np.empty(shape, dtype)
    space.select_hyperslab((start, *(0,) * (len(shape) - 1)), shape)
    table.read(h5s.create_simple(shape), space, rows)
    return rows


def write_rows(table: Any, start: int, rows: NDArray[Any]) -> None:
    """Write rows of a table (n, k), and make an end of it after them.

    Parameters
    ----------
    table
        DatasetID.
    start
        Where the first goes.
    rows
        C-contiguous.
    """
    table.set_extent((start + len(rows), *rows.shape[1:]))
    space = table.get_space()
    space.select_hyperslab((start, *(0,) * (rows.ndim - 1)), rows.shape)
    table.write(h5s.create_simple(rows.shape), space, rows)


def count_rows(table: Any) -> int:
    """Return the number of a table's rows."""
    return int(table.get_space().get_simple_extent_dims()[0])


def create_bytes(group: Any, name: str, data: bytes) -> None:
    """Make a dataset of bytes.

    Parameters
    ----------
    group
        Identifier of the group to link it into.
    name
        Of the link.
    data
        At least one byte.
    """
    dcpl = _compact() if len(data) <= COMPACT_NBYTES else None
    space = h5s.create_simple((len(data),))
    made = h5d.create(group, None, h5t.STD_U8LE, space, dcpl)
    made.write(space, space, np.frombuffer(data, np.uint8), mtype=h5t.NATIVE_UINT8)
    link(made, group, name.encode(), utf8=not name.isascii())


@cache
def _text(*, logical: bool) -> Any:
    return h5t.py_create(h5py.string_dtype(), logical=logical)


@cache
def _scalar() -> Any:
    return h5s.create(h5s.SCALAR)


@cache
def _compact() -> Any:
    dcpl = h5p.create(h5p.DATASET_CREATE)
    dcpl.set_layout(h5d.COMPACT)
    dcpl.set_obj_track_times(False)
    return dcpl


def has_member(group: Any, name: str) -> bool:
    """Whether a group has a link of this name, a single one."""
    return bool(group.links.exists(name.encode()))


def open_member(group: Any, name: str) -> Any:
    """Open what a group has under a name, a single one."""
    return h5o.open(group, name.encode())


def address_at(loc: Any, path: bytes) -> int:
    """Return the address of the object at a path; nothing is opened."""
    return int(h5g.get_objinfo(loc, path).objno[0])


class ByteRange:
    """The bytes of a one-dimensional dataset of bytes, which stays open.

    Parameters
    ----------
    dataset
        DatasetID.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._space = dataset.get_space()

    @classmethod
    def open(cls, group: Any, name: bytes) -> Self:
        """Open a dataset of a group."""
        return cls(h5d.open(group, name))

    def __len__(self) -> int:
        return int(self._space.get_simple_extent_npoints())

    @property
    def offset(self) -> int | None:
        """Where in the file they begin; None if they are not in one place."""
        found: int | None = self._dataset.get_offset()
        return found

    def read(self, start: int, nbytes: int) -> bytes:
        """Return some; those beyond the end are left out."""
        data = np.empty(max(0, min(nbytes, len(self) - start)), np.uint8)
        if len(data):
            self._space.select_hyperslab((start,), data.shape)
            memory = h5s.create_simple(data.shape)
            self._dataset.read(memory, self._space, data, mtype=h5t.NATIVE_UINT8)
        return data.tobytes()

    def write(self, start: int, data: bytes | bytearray | memoryview) -> None:
        """Write some."""
        values = np.frombuffer(data, np.uint8)
        self._space.select_hyperslab((start,), values.shape)
        memory = h5s.create_simple(values.shape)
        self._dataset.write(memory, self._space, values, mtype=h5t.NATIVE_UINT8)
