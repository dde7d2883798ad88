"""Values of copies within a draft."""

from __future__ import annotations

from typing import Any

import h5py

from vh5d.hdf5.address import address_of
from vh5d.versioned.draft_values import write_chunks
from vh5d.versioned.stage import Stage


def duplicate(stage: Stage, original: Any, copied: Any) -> None:
    """Give the copies of datasets the values of the originals.

    HDF5 has copied the stubs; those whose values are in the store share its chunks.

    Parameters
    ----------
    stage
        The draft.
    original, copied
        Groups or datasets of the draft: what was copied, and the copy.
    """
    pending, seen = [(original, copied)], set()
    while pending:
        old, new = pending.pop()
        if address_of(new.id) in seen:
            continue
        seen.add(address_of(new.id))
        if isinstance(old, h5py.Dataset):
            _duplicate_values(stage, old, new)
        elif isinstance(old, h5py.Group):
            pending += [
                (h5py.Group.__getitem__(old, name), h5py.Group.__getitem__(new, name))
                for name in h5py.Group.__iter__(new)
                if h5py.Group.get(new, name, getlink=True, getclass=True) is h5py.HardLink
            ]


def _duplicate_values(stage: Stage, old: Any, new: Any) -> None:
    node, copy = stage.node_of(old.id), stage.node_of(new.id)
    copy.implicit = node.implicit
    if node.array is not None:
        write_chunks(new.id, node.array.to_chunks())
    else:
        copy.source = node.source
