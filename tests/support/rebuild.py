"""Builds a tree again by vh5d's walk and copying, as captures do but for sharing chunks."""

from __future__ import annotations

from typing import Any

import h5py
from h5py import h5o

from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.copying import copy_link, copy_object, link_properties, rewrite_references
from vh5d.hdf5.walk import Kind, LinkKind, walk


def rebuild(source: h5py.File, parent: h5py.Group, name: str) -> tuple[h5py.Group, list[str]]:
    """Copy all of a file to a new group; return it, and the warnings."""
    root = h5o.open(source.id, b"/")
    target = copy_object(root, parent.id, name.encode())
    warnings = _rebuild(source.id, target)
    return h5py.Group(target), warnings


def _rebuild(source: Any, target: Any) -> list[str]:
    tree = walk(source)
    warnings = list(tree.problems)
    made: dict[int, Any] = {tree.root: target}
    originals: dict[int, Any] = {tree.root: h5o.open(source, b"/")}
    for item in tree:
        parent = made.get(item.address)
        if parent is None:
            continue
        for link in item.links:
            if link.kind in (LinkKind.SOFT, LinkKind.EXTERNAL):
                copy_link(link, parent)
            elif link.kind is not LinkKind.HARD:
                warnings.append(f"{link.name!r}: user-defined link")
            elif link.address in made:
                properties = link_properties(utf8=link.utf8)
                h5o.link(made[link.address], parent, link.name, lcpl=properties)
            elif tree.objects[link.address].kind is not Kind.UNREADABLE:
                original = h5o.open(originals[item.address], link.name)
                try:
                    copied = copy_object(original, parent, link.name, utf8=link.utf8)
                except (RuntimeError, OSError, ValueError) as error:
                    warnings.append(f"{link.name!r}: {error}")
                    continue
                made[link.address], originals[link.address] = copied, original
    addresses = {address: h5o.get_info(copy).addr for address, copy in made.items()}
    for address, copy in made.items():
        item = tree.objects[address]
        warnings += copy_attributes(originals[address], copy, addresses.get, path=item.path)
        if item.dataset:
            warnings += rewrite_references(originals[address], copy, addresses.get, path=item.path)
    return warnings
