"""Builds an object again in another file, with everything below it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from h5py import h5d, h5g

from vh5d.hdf5.address import address_of, link
from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.copying import copy_link, copy_object, rewrite_references
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.walk import LinkKind, SourceLink, list_links, open_link


def copy_subtree(source: Any, target_parent: Any, name: bytes) -> list[str]:
    """Make an object again under `name`: attributes, values, and what hard links lead to.

    Soft and external links are made again, not followed. References lead to the copies; those
    that lead out of the subtree become null.

    Parameters
    ----------
    source
        The object's low-level identifier.
    target_parent
        Identifier of the group to link it into.
    name
        Name of the link.

    Returns
    -------
    list of str
        What could not be copied, one line each.
    """
    copying = _Copying()
    copying.make(source, target_parent, name, b"/" + name)
    copying.finish()
    return copying.warnings


def copy_root(source: Any, target: Any, *, own: Collection[str], aside: Any = None) -> list[str]:
    """Make all that is in a group again in another, its attributes too.

    Parameters
    ----------
    source, target
        Identifiers of the groups; `target` is empty.
    own
        Names of attributes of `source` that are not copied.
    aside
        A group whose attributes `target` gets as well.

    Returns
    -------
    list of str
        What could not be copied, one line each.
    """
    copying = _Copying()
    copying.made[address_of(source)] = target
    copying.members(source, target, b"")
    copying.finish()
    for group, left_out in ((source, own), (aside, ())):
        if group is not None:
            copying.warnings += copy_attributes(
                group,
                target,
                copying.translate,
                path=b"/",
                select=lambda name, left_out=left_out: _text(name) not in left_out,  # type: ignore[misc]
            )
    return copying.warnings


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


@dataclass
class _Copying:
    made: dict[int, Any] = field(default_factory=dict)
    pairs: list[tuple[bytes, Any, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def make(self, source: Any, parent: Any, name: bytes, path: bytes) -> None:
        made = copy_object(source, parent, name, utf8=not name.isascii())
        self.made[address_of(source)] = made
        self.pairs.append((path, source, made))
        if isinstance(source, h5g.GroupID):
            self.members(source, made, path)

    def members(self, source: Any, target: Any, path: bytes) -> None:
        """Make all that is in a group."""
        for each in list_links(source):
            self._link(each, source, target, path + b"/" + each.name)

    def _link(self, each: SourceLink, source: Any, target: Any, path: bytes) -> None:
        try:
            if each.kind is not LinkKind.HARD:
                copy_link(each, target)
            elif each.address in self.made:
                link(self.made[each.address], target, each.name, utf8=each.utf8)
            else:
                self.make(open_link(source, each), target, each.name, path)
        except H5PY_ERRORS as error:
            where = path.decode("utf-8", "backslashreplace")
            self.warnings.append(f"{where} is not copied: {error}")

    def translate(self, address: int) -> int | None:
        """Return where the copy of an object is."""
        made = self.made.get(address)
        return None if made is None else address_of(made)

    def finish(self) -> None:
        """Copy what may refer to other objects, now that all have their place."""
        for path, source, target in self.pairs:
            self.warnings += copy_attributes(source, target, self.translate, path=path)
            if isinstance(source, h5d.DatasetID):
                self.warnings += rewrite_references(source, target, self.translate, path=path)
