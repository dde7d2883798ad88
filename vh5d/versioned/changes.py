"""What of a draft differs from the version that it began as."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vh5d.hdf5.address import address_of
from vh5d.hdf5.attributes import count_attributes, tracks_attribute_order
from vh5d.hdf5.dataset_info import open_dataset
from vh5d.hdf5.fingerprint import Sketch
from vh5d.hdf5.stubs import is_dataset
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links
from vh5d.store import layout
from vh5d.versioned.node import Node
from vh5d.versioned.stage import Stage


class Changes:
    """Compares the objects of a draft with the committed ones that they stand for.

    Parameters
    ----------
    stage
        The draft.

    Attributes
    ----------
    users
        Addresses of the objects that link or refer to one, by its address; all in the draft.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.users: dict[int, set[int]] = {}

    def differs(self, node: Node) -> bool:
        """Whether an object differs, the values of arrays left aside."""
        address = address_of(node.id)
        changed = self._attributes_differ(node, address)
        if is_group(node.id):
            return self._links_differ(node, address) or changed
        if is_dataset(node.id) and not node.holds_array:
            return self._values_differ(node, address) or changed
        return changed or node.base is None

    def spread(self, changed: Iterable[int]) -> set[int]:
        """Return the addresses with those of every object that links or refers to one of them."""
        found = set(changed)
        pending = list(found)
        while pending:
            for user in self.users.get(pending.pop(), ()):
                if user not in found:
                    found.add(user)
                    pending.append(user)
        return found

    def _used(self, by: int, addresses: Iterable[int]) -> None:
        for address in addresses:
            self.users.setdefault(address, set()).add(by)

    def _attributes_differ(self, node: Node, address: int) -> bool:
        if not count_attributes(node.id):
            return node.base is None or bool(count_attributes(node.base))
        tracked = tracks_attribute_order(node.id)
        sketch = Sketch(node.id)
        root = node is self._stage.root
        own = layout.OWN_ATTRIBUTES if root else frozenset()
        sketch.add_attributes(node.id, tracked=tracked, without=own)
        self._used(address, sketch.refers_to)
        if node.base is None or root:
            return True
        before = Sketch(node.base)
        before.add_attributes(node.base, tracked=tracked)
        return sketch.finish(self._identity) != before.finish(_own_identity)

    def _values_differ(self, node: Node, address: int) -> bool:
        if node.source is not None:
            return node.base is not node.source
        dataset = open_dataset(node.id)
        sketch = Sketch(node.id)
        sketch.add_dataset(dataset)
        self._used(address, sketch.refers_to)
        if node.base is None:
            return True
        before = Sketch(node.base)
        before.add_dataset(open_dataset(node.base))
        return sketch.finish(self._identity) != before.finish(_own_identity)

    def _links_differ(self, node: Node, address: int) -> bool:
        links = list_links(node.id)
        hard = [each.address for each in links if each.kind is LinkKind.HARD]
        self._used(address, hard)
        if node.base is None or node.links is None:
            return True
        before = [_described(each, each.address) for each in node.links]
        now = [_described(each, self._committed(node, each)) for each in links]
        return now != [each for each in before if each[1] is not LinkKind.USER_DEFINED]

    def _committed(self, group: Node, entry: SourceLink) -> int | None:
        """Return the address of the committed object that a hard link stands for."""
        if self._stage.is_placeholder(entry.address):
            return group.waiting[entry.name]
        node = self._stage.known(entry.address)
        return node.base_address if node else None

    def _identity(self, address: int) -> bytes | None:
        node = self._stage.known(address)
        if node is None or node.base_address is None:
            return b"new %d" % address
        return _own_identity(node.base_address)


def _own_identity(address: int) -> bytes:
    return b"%d" % address


def _described(entry: SourceLink, address: int | None) -> tuple[Any, ...]:
    where = address if entry.kind is LinkKind.HARD else None
    return entry.name, entry.kind, where, entry.target, entry.file, entry.utf8
