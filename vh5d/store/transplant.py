"""Makes the objects of a store again in another, sharing among them what was shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py

from vh5d.hdf5.address import address_of, link, open_by_address
from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.copying import copy_link, copy_object, rewrite_references
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.stubs import is_dataset
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links, open_link
from vh5d.store import layout

_FRAME = (layout.ROOT, layout.POOLS, layout.SPACES)


class Transplant:
    """Copies everything that a file's root group leads to.

    An object is copied once, whatever leads to it. What holds bytes only, the pools and `/spaces`,
    is begun anew, and there to be filled.

    Parameters
    ----------
    source, target
        The files; the target is empty.
    check
        Is called before each object; raises if going on would be in vain.

    Attributes
    ----------
    made
        The address of each object's copy by its own. Objects that are entered here beforehand are
        linked, and not copied.
    skipped
        Addresses of objects that are left out.
    lost
        What could not be copied, one line each.
    """

    def __init__(
        self, source: h5py.File, target: h5py.File, check: Callable[[], None] = lambda: None
    ) -> None:
        self._source, self._target, self._check = source, target, check
        self.made = {address_of(source["/"].id): address_of(target["/"].id)}
        self.skipped: set[int] = set()
        self.lost: list[str] = []
        for path in _FRAME:
            parent, _, name = path.rpartition("/")
            made = copy_object(source[path].id, target[parent or "/"].id, name.encode())
            self.made[address_of(source[path].id)] = address_of(made)
        target[layout.SPACES].attrs["next"] = 0
        self._framed = {address_of(source[path].id) for path in _FRAME}
        self._emptied = {address_of(source[path].id) for path in _FRAME[1:]}

    def run(self) -> None:
        """Copy all that is not there yet, then attributes and references."""
        given = set(self.made)
        pending = [self._source["/"].id, self._source[layout.ROOT].id]
        while pending:
            group = pending.pop()
            target = self._copy_of(address_of(group))
            for each in list_links(group):
                self._check()
                made = self._link(each, group, target)
                if made is not None:
                    pending.append(made)
        for address in self.made:
            if address in self._emptied:
                continue
            self._check()
            source, target = open_by_address(self._source.id, address), self._copy_of(address)
            self.lost += copy_attributes(source, target, self.made.get)
            if address not in given and is_dataset(source):
                self.lost += rewrite_references(source, target, self.made.get)

    def _copy_of(self, address: int) -> Any:
        return open_by_address(self._target.id, self.made[address])

    def _link(self, each: SourceLink, group: Any, target: Any) -> Any | None:
        """Make a link again; return the group that it leads to, if that was copied just now."""
        try:
            if each.kind is not LinkKind.HARD:
                copy_link(each, target)
            elif each.address in self.skipped | self._framed:
                pass
            elif each.address in self.made:
                link(self._copy_of(each.address), target, each.name, utf8=each.utf8)
            else:
                return self._copy(each, group, target)
        except H5PY_ERRORS as error:
            self.lost.append(f"{each.name!r} is not kept: {error}")
        return None

    def _copy(self, each: SourceLink, group: Any, target: Any) -> Any | None:
        source = open_link(group, each)
        made = copy_object(source, target, each.name, utf8=each.utf8)
        self.made[each.address] = address_of(made)
        return source if is_group(source) else None
