"""Objects by their addresses: open, tell, link.

HDF5 has a call that opens an object at an address; h5py does not pass it on. An object reference,
though, *is* an address: make one, and dereference it in the file that is meant.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from h5py import h5d, h5f, h5g, h5o, h5p, h5r, h5s, h5t

from vh5d.hdf5.memory_file import memory_file


def open_by_address(file_id: h5f.FileID, address: int) -> h5o.ObjectID:
    """Open the object whose header is at `address`, relative to the end of the userblock."""
    return open_many_by_address(file_id, (address,))[0]


def open_many_by_address(file_id: h5f.FileID, addresses: Iterable[int]) -> list[h5o.ObjectID]:
    """Open the objects at `addresses`: much less work than one at a time.

    Raises
    ------
    ValueError
        HDF5 finds no object at one of them.
    """
    wanted = np.fromiter(addresses, "<u8")
    if not wanted.size:
        return []
    return [h5r.dereference(reference, file_id) for reference in _references(wanted)]


def _references(addresses: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> list[h5r.Reference]:
    n = len(addresses)
    with memory_file() as file:
        dcpl = h5p.create(h5p.DATASET_CREATE)
        dcpl.set_chunk((n,))
        space = h5s.create_simple((n,))
        dataset = h5d.create(file.id, b"r", h5t.STD_REF_OBJ, space, dcpl)
        dataset.write_direct_chunk((0,), addresses.tobytes())
        found = np.empty(n, object)
        dataset.read(
            h5s.ALL,
            h5s.ALL,
            found,
            mtype=h5t.py_create(np.dtype("O", metadata={"ref": h5r.Reference})),
        )
        return list(found)


def address_of(obj_id: h5o.ObjectID) -> int:
    """Address of an open object's header, relative to the end of the userblock."""
    return int(h5o.get_info(obj_id).addr)


def link(
    obj_id: h5o.ObjectID, group_id: h5g.GroupID, name: bytes, *, utf8: bool = False
) -> None:
    """Link an open object into a group.

    A header made by us starts with a link count of one before it has a link, so the count ends one
    too high, on purpose: HDF5 never frees chunks that other datasets share.
    """
    lcpl = h5p.create(h5p.LINK_CREATE)
    lcpl.set_char_encoding(h5t.CSET_UTF8 if utf8 else h5t.CSET_ASCII)
    h5o.link(obj_id, group_id, name, lcpl=lcpl)


def open_by_path(group_id: h5g.GroupID, path: bytes) -> h5o.ObjectID:
    """Open the object at a path below a group; the group itself at ``/`` and the empty path."""
    return h5o.open(group_id, path.strip(b"/") or b".")
