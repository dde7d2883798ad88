"""Objects by their addresses: open, tell, link."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from h5py import h5f, h5g, h5o, h5p, h5t

from vh5d.hdf5.native import open_object


def open_by_address(file_id: h5f.FileID, address: int) -> h5o.ObjectID:
    """Open the object whose header is at `address`, relative to the end of the userblock.

    Raises
    ------
    RuntimeError
        HDF5 finds no object there.
    """
    return open_object(file_id, address)


def open_many_by_address(file_id: h5f.FileID, addresses: Iterable[int]) -> list[h5o.ObjectID]:
    """Open the objects at `addresses`."""
    return [open_object(file_id, address) for address in addresses]


def address_of(obj_id: h5o.ObjectID) -> int:
    """Address of an open object's header, relative to the end of the userblock."""
    # Not h5o.get_info: that goes into a dataset's chunk index, and crashes HDF5 2.0 where the index
    # is damaged. The number is two machine words, of which the first holds 64 bits.
    return int(h5g.get_objinfo(obj_id).objno[0])


def link(obj_id: h5o.ObjectID, group_id: h5g.GroupID, name: bytes, *, utf8: bool = False) -> None:
    """Link an open object into a group.

    A header made by us starts with a link count of one before it has a link, so the count ends one
    too high, on purpose: HDF5 never frees chunks that other datasets share.
    """
    h5o.link(obj_id, group_id, name, lcpl=link_properties(utf8=utf8))


@cache
def link_properties(*, utf8: bool) -> h5p.PropLCID:
    """Creation properties of a link, not to be changed."""
    lcpl = h5p.create(h5p.LINK_CREATE)
    lcpl.set_char_encoding(h5t.CSET_UTF8 if utf8 else h5t.CSET_ASCII)
    return lcpl


def open_by_path(group_id: h5g.GroupID, path: bytes) -> h5o.ObjectID:
    """Open the object at a path below a group; the group itself at ``/`` and the empty path."""
    return h5o.open(group_id, path.strip(b"/") or b".")
