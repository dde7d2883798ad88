"""Makes a version of a draft: what changed is made in the store, the rest is linked."""

from __future__ import annotations

from typing import Any

from vh5d.hdf5.address import address_of, link, open_by_address
from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.copying import copy_link, copy_object, rewrite_references
from vh5d.hdf5.stubs import contiguous_copy, is_dataset
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links
from vh5d.store import layout
from vh5d.store.datasets import stage_header
from vh5d.store.staging import StagingArea
from vh5d.versioned.changes import Changes
from vh5d.versioned.graph import Graph
from vh5d.versioned.node import Node
from vh5d.versioned.stage import Stage
from vh5d.versioned.values import StagedValues, stage_values


class Commit:
    """One version on its way into the store.

    Parameters
    ----------
    stage
        The draft.
    area
        The commit.
    graph
        Who uses whom in the versions before.
    """

    def __init__(self, stage: Stage, area: StagingArea, graph: Graph) -> None:
        self._stage = stage
        self._area = area
        self._graph = graph
        self._nodes = {address_of(node.id): node for node in stage.objects()}
        self._find_hidden()
        self._values: dict[int, StagedValues] = {}
        self._made: dict[int, Any] = {}
        self._changed: set[int] = set()
        self.lost: list[str] = []

    def run(self) -> dict[int, Any]:
        """Make the version's tree.

        Returns
        -------
        The committed objects by the addresses of those in the draft.
        """
        self._find_changes()
        self._place_arrays()
        versions = self._area.file[layout.VERSIONS]
        root = address_of(self._stage.root.id)
        name = self._stage.name
        self._made[root] = copy_object(
            self._stage.root.id, versions.id, name.encode(), utf8=not name.isascii()
        )
        pending = [root]
        while pending:
            address = pending.pop()
            for entry in list_links(self._nodes[address].id):
                pending += self._link(self._nodes[address], entry, self._made[address])
        for address, made in self._made.items():
            self._finish(self._nodes[address], made, root=address == root)
        unchanged = {
            address: node.base
            for address, node in self._nodes.items()
            if address not in self._made and node.base is not None
        }
        return {**unchanged, **self._made}

    def made(self) -> dict[bytes, Any]:
        """Return each object that `run` made, by a path from the version's root."""
        made = {address_of(each): each for each in self._made.values()}
        root = self._made[address_of(self._stage.root.id)]
        if len(made) == 1:
            return {b"": root}
        paths, pending = {address_of(root): b""}, [root]
        while pending:
            group = pending.pop()
            prefix = paths[address_of(group)]
            for entry in list_links(group):
                new = entry.address in made and entry.address not in paths
                if entry.kind is LinkKind.HARD and new:
                    paths[entry.address] = prefix + b"/" + entry.name if prefix else entry.name
                    if is_group(made[entry.address]):
                        pending.append(made[entry.address])
        return {path: made[address] for address, path in paths.items()}

    def _find_hidden(self) -> None:
        """Find the nodes that the version has, but only under paths where nobody went."""
        if all(address_of(node.id) in self._nodes for node in self._stage.adopted()):
            return
        pending = [base for node in self._nodes.values() for base in node.waiting.values()]
        seen: set[int] = set()
        while pending:
            base = pending.pop()
            if base in seen:
                continue
            seen.add(base)
            node = self._stage.standing_for(base)
            if node is None or (is_group(node.id) and node.links is None):
                pending += self._graph.uses(base)
            if node is not None and address_of(node.id) not in self._nodes:
                for each in self._stage.objects(node.id):
                    self._nodes[address_of(each.id)] = each
                    pending += each.waiting.values()

    def _find_changes(self) -> None:
        changes = Changes(self._stage)
        changed = {address_of(self._stage.root.id)}
        for address, node in self._nodes.items():
            if changes.differs(node) or self._values_differ(address, node):
                changed.add(address)
        changed = changes.spread(changed)
        self._changed = changed
        if all(map(_is_whole, self._nodes.values())):
            return  # nothing of the version is anywhere else
        bases = [self._nodes[address].base_address for address in changed]
        replaced = [address for address in bases if address is not None]
        for base in self._graph.dependents(address_of(self._stage.previous.id), replaced):
            node = self._stage.adopt(open_by_address(self._area.file.id, base))
            address = address_of(node.id)
            self._nodes.setdefault(address, self._stage.node_of(node.id))
            changed.add(address)

    def _values_differ(self, address: int, node: Node) -> bool:
        if not node.holds_array:
            return False
        self._values[address] = stage_values(self._area, node)
        return self._values[address].changed

    def _place_arrays(self) -> None:
        for address in self._changed - self._values.keys():
            self._values_differ(address, self._nodes[address])
        addresses = [address for address in self._values if address in self._changed]
        headers = []
        for address in addresses:
            staged = self._values[address]
            if staged.index is not None:
                headers.append((address, stage_header(self._area, staged.spec, staged.index)))
        placed = self._area.place([header for _, header in headers])
        for (address, _), dataset in zip(headers, placed, strict=True):
            self._made[address] = dataset.id
        for address in addresses:
            if address not in self._made:
                self._made[address] = self._whole(self._nodes[address])

    def _whole(self, node: Node) -> Any:
        if node.array is None:
            self._stage.values.thaw(node)
        if node.implicit:
            return contiguous_copy(node.id, self._area.file.id)
        staged = stage_values(self._area, node)
        assert staged.index is not None
        (dataset,) = self._area.place([stage_header(self._area, staged.spec, staged.index)])
        return dataset.id

    def _link(self, group: Node, entry: SourceLink, made: Any) -> list[int]:
        """Make a link again; return the address of a group that was made for it, if one was."""
        if entry.kind is not LinkKind.HARD:
            copy_link(entry, made)
            return []
        address = entry.address
        if self._stage.is_placeholder(address):
            base = group.waiting[entry.name]
            node = self._stage.standing_for(base)
            address = address_of(node.id) if node is not None else 0
            if address not in self._changed:
                opened = open_by_address(self._area.file.id, base)
                link(opened, made, entry.name, utf8=entry.utf8)
                return []
        if address in self._made:
            link(self._made[address], made, entry.name, utf8=entry.utf8)
            return []
        node = self._nodes[address]
        if address not in self._changed:
            link(node.base, made, entry.name, utf8=entry.utf8)
            return []
        source = node.id if node.source is None else node.source
        self._made[address] = copy_object(source, made, entry.name, utf8=entry.utf8)
        return [address] if is_group(node.id) else []

    def _finish(self, node: Node, made: Any, *, root: bool) -> None:
        own = layout.OWN_ATTRIBUTES if root else frozenset()
        self.lost += copy_attributes(
            node.id, made, self._translate, select=lambda name: name not in own
        )
        if is_dataset(node.id) and node.source is None and not node.holds_array:
            self.lost += rewrite_references(node.id, made, self._translate)

    def _translate(self, address: int) -> int | None:
        made = self._made.get(address)
        if made is not None:
            return address_of(made)
        node = self._stage.known(address)
        return node.base_address if node is not None else None


def _is_whole(node: Node) -> bool:
    """Whether all that a node links is real, if it is a group."""
    return not node.waiting and (node.links is not None or not is_group(node.id))
