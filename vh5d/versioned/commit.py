"""Makes a version of a draft: what changed is made in the store, the rest is linked."""

from __future__ import annotations

from typing import Any

from vh5d.hdf5.address import address_of, link, open_by_address
from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.copying import copy_link, copy_object, rewrite_references
from vh5d.hdf5.dataset_info import open_dataset
from vh5d.hdf5.stubs import contiguous_copy, is_array, is_dataset
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links
from vh5d.store import layout
from vh5d.store.datasets import stage_header
from vh5d.store.staging import StagingArea
from vh5d.versioned.changes import Changes
from vh5d.versioned.stage import Node, Stage
from vh5d.versioned.values import StagedValues, stage_values


class Commit:
    """One version on its way into the store.

    Parameters
    ----------
    stage
        The draft.
    area
        The commit.
    """

    def __init__(self, stage: Stage, area: StagingArea) -> None:
        self._stage = stage
        self._area = area
        self._nodes = {address_of(node.id): node for node in stage.objects()}
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
        for address, node in self._nodes.items():
            if address in self._changed and is_group(node.id):
                for entry in list_links(node.id):
                    self._link(node, entry, self._made[address])
        for address in self._changed & self._made.keys():
            self._finish(self._nodes[address], self._made[address], root=address == root)
        unchanged = {
            address: node.base
            for address, node in self._nodes.items()
            if address not in self._made and node.base is not None
        }
        return {**unchanged, **self._made}

    def _find_changes(self) -> None:
        changes = Changes(self._stage)
        changed = {address_of(self._stage.root.id)}
        for address, node in self._nodes.items():
            if is_dataset(node.id) and is_array(open_dataset(node.id)):
                self._values[address] = stage_values(self._area, node)
                if self._values[address].changed:
                    changed.add(address)
            if changes.differs(node):
                changed.add(address)
        self._changed = changes.spread(changed)

    def _place_arrays(self) -> None:
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
            self._stage.thaw(node)
        if node.implicit:
            return contiguous_copy(node.id, self._area.file.id)
        staged = stage_values(self._area, node)
        assert staged.index is not None
        (dataset,) = self._area.place([stage_header(self._area, staged.spec, staged.index)])
        return dataset.id

    def _link(self, group: Node, entry: SourceLink, made: Any) -> None:
        if entry.kind is not LinkKind.HARD:
            copy_link(entry, made)
            return
        address = entry.address
        if self._stage.is_placeholder(address):
            base = open_by_address(self._area.file.id, group.waiting[entry.name])
            link(base, made, entry.name, utf8=entry.utf8)
        elif address in self._made:
            link(self._made[address], made, entry.name, utf8=entry.utf8)
        elif address not in self._changed:
            link(self._nodes[address].base, made, entry.name, utf8=entry.utf8)
        else:
            node = self._nodes[address]
            source = node.id if node.source is None else node.source
            self._made[address] = copy_object(source, made, entry.name, utf8=entry.utf8)

    def _finish(self, node: Node, made: Any, *, root: bool) -> None:
        own = layout.RESERVED_ATTRIBUTES if root else ()
        self.lost += copy_attributes(
            node.id,
            made,
            self._translate,
            select=lambda name: name.decode("utf-8", "replace") not in own,
        )
        if is_dataset(node.id) and node.source is None:
            self.lost += rewrite_references(node.id, made, self._translate)

    def _translate(self, address: int) -> int | None:
        made = self._made.get(address)
        if made is not None:
            return address_of(made)
        node = self._stage.known(address)
        return node.base_address if node is not None else None
