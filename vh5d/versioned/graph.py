"""Who links or refers to whom in committed versions."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import h5py

from vh5d.hdf5.address import open_by_address
from vh5d.hdf5.dataset_info import open_dataset
from vh5d.hdf5.element_type import layout_of
from vh5d.hdf5.fingerprint import Sketch
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.stubs import is_dataset
from vh5d.hdf5.walk import LinkKind, is_group, list_links
from vh5d.store import layout


class Graph:
    """The links and references among committed objects, each object looked at once.

    Committed objects never change, and versions share them; so what is known of one version helps
    with the next.

    Parameters
    ----------
    file
        The file with the versions.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._uses: dict[int, frozenset[int]] = {}

    def dependents(self, root: int, changed: Iterable[int]) -> set[int]:
        """Return the objects of a tree that link or refer, over others or not, to changed ones.

        Parameters
        ----------
        root
            Address of the group where the tree begins.
        changed
            Addresses of the objects that are to be replaced.
        """
        if root not in self._uses:
            self._uses[root] = self._look(root, without=layout.OWN_ATTRIBUTES)
        users = self._users(root)
        pending, found = list(changed), set[int]()
        while pending:
            new = users.get(pending.pop(), set()) - found
            found |= new
            pending += new
        return found

    def _users(self, root: int) -> dict[int, set[int]]:
        users: dict[int, set[int]] = {}
        pending, seen = [root], {root}
        while pending:
            address = pending.pop()
            for used in self.uses(address):
                users.setdefault(used, set()).add(address)
                if used not in seen:
                    seen.add(used)
                    pending.append(used)
        return users

    def uses(self, address: int) -> frozenset[int]:
        """Return the addresses of the objects that a committed one links or refers to."""
        if address not in self._uses:
            self._uses[address] = self._look(address)
        return self._uses[address]

    def _look(self, address: int, *, without: Collection[bytes] = ()) -> frozenset[int]:
        try:
            opened = open_by_address(self._file.id, address)
        except H5PY_ERRORS:
            return frozenset()  # a reference that dangles
        sketch = Sketch(opened)
        sketch.add_attributes(opened, tracked=False, without=without)
        uses = set(sketch.refers_to)
        if is_group(opened):
            uses |= {each.address for each in list_links(opened) if each.kind is LinkKind.HARD}
        elif is_dataset(opened) and layout_of(opened.get_type()).has_references:
            values = Sketch(opened)
            values.add_dataset(open_dataset(opened))
            uses |= values.refers_to
        return frozenset(uses)
