"""Objects of committed versions replaced by others, wherever they are linked or referred to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py

from vh5d.hdf5.address import address_of
from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.replacing import replace_links, replace_references
from vh5d.hdf5.walk import LinkKind, is_group, list_links, open_link
from vh5d.store import layout


def replace_everywhere(file: h5py.File, pairs: Sequence[tuple[Any, Any]]) -> list[str]:
    """Put new objects in the place of old ones in all versions, with their attributes.

    A group that versions share is changed once, for all of them.

    Parameters
    ----------
    file
        The file.
    pairs
        Low-level identifiers of each old object and of the new one, which has no links yet.

    Returns
    -------
    What could not be kept, one line each.
    """
    made = {address_of(old): address_of(new) for old, new in pairs}

    def translate(address: int) -> int:
        return made.get(address, address)

    lost: list[str] = []
    for old, new in pairs:
        lost += copy_attributes(old, new, translate)
    for opened in _objects(file):
        if is_group(opened):
            replace_links(opened, made)
        if address_of(opened) not in made:
            replace_references(opened, translate)
    return lost


def _objects(file: h5py.File) -> list[Any]:
    """Return the identifiers of all objects of all versions, each once."""
    root = file[layout.VERSIONS].id
    seen, pending, found = {address_of(root)}, [root], []
    while pending:
        group = pending.pop()
        found.append(group)
        for each in list_links(group):
            if each.kind is LinkKind.HARD and each.address not in seen:
                seen.add(each.address)
                opened = open_link(group, each)
                (pending if is_group(opened) else found).append(opened)
    return found
