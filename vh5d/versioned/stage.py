"""A version being staged: its tree in a draft file, made there as far as somebody looks.

The draft is a real HDF5 file, in memory until it grows large. What is created in it, linked, given
attributes or attached as a dimension scale is what h5py makes of it. Objects of the version before
enter the draft as stubs when they are reached: until then every hard link to one of them leads to
one placeholder. Nothing of it touches the store before the commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from weakref import WeakSet

import h5py

from vh5d.errors import VH5DError
from vh5d.hdf5.address import address_of, link, open_by_address, open_by_path
from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.copying import copy_link
from vh5d.hdf5.dataset_info import open_dataset
from vh5d.hdf5.handles import create_attribute
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.stubs import (
    copy_values,
    is_array,
    is_dataset,
    link_intermediate,
    stub_dataset,
    stub_datatype,
    stub_group,
)
from vh5d.hdf5.walk import LinkKind, SourceLink, find_link, is_group, list_links
from vh5d.store import layout
from vh5d.store.versions import TIMESTAMP_FORMAT
from vh5d.versioned.draft_values import DraftValues
from vh5d.versioned.node import Node
from vh5d.versioned.spill import Drafts

MOST_SOFT_LINKS = 16  # followed for one path, as HDF5 does by default (H5L_NUM_LINKS)


class Stage:
    """The draft of a version.

    Parameters
    ----------
    store
        The file with the versions.
    previous
        The group of the version that it begins as.
    name
        What the version will be called.
    drafts
        Where it gets its file.

    Attributes
    ----------
    values
        Of its datasets.
    """

    def __init__(self, store: h5py.File, previous: h5py.Group, name: str, drafts: Drafts) -> None:
        self.store = store
        self.name = name
        self.previous = previous
        self.wrappers: WeakSet[Any] = WeakSet()
        self.lost: list[str] = []
        self._drafts = drafts
        self._scratch = drafts.take()
        self.values = DraftValues(self._scratch)
        self._draft = self._scratch.file
        self._placeholder = stub_group(self._draft.id, None)
        self._placeholder_address = address_of(self._placeholder)
        self._nodes: dict[int, Node] = {}
        self._by_base: dict[int, Node] = {}
        self._unfinished: deque[tuple[Node, bool]] = deque()
        self.root = self.adopt(previous.id)
        path = self.path.encode()
        link_intermediate(self.root.id, self._draft.id, path)
        self._own_attributes()
        self.root.id = open_by_path(self._draft.id, path)  # opened by its path it knows its name
        self.load(self.root)

    def _own_attributes(self) -> None:
        root = self.root.id
        create_attribute(root, b"prev_version", self.previous.name.rsplit("/", 1)[-1])
        create_attribute(root, b"committed", value=False)
        moment = datetime.now(UTC).strftime(TIMESTAMP_FORMAT)
        create_attribute(root, b"timestamp", moment)

    @property
    def path(self) -> str:
        """The version's path in the store, and in the draft."""
        return f"/{layout.VERSIONS}/{self.name}"

    # Objects

    def node_of(self, opened: Any) -> Node:
        """Return the node of an open object of the draft; a new object gets one."""
        address = address_of(opened)
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(opened)
        if is_group(opened) and node.links is None:
            self.load(node)
        return node

    def known(self, address: int) -> Node | None:
        """Return the node at an address of the draft, if there is one."""
        return self._nodes.get(address)

    def standing_for(self, address: int) -> Node | None:
        """Return the node that stands for the committed object at an address, if there is one."""
        return self._by_base.get(address)

    def adopt(self, base: Any) -> Node:
        """Return the node that stands for a committed object, attributes and all."""
        node = self._stub(base)
        while self._unfinished:
            self._finish(*self._unfinished.popleft())
        return node

    def _stub(self, base: Any) -> Node:
        address = address_of(base)
        node = self._by_base.get(address)
        if node is not None:
            return node
        has_references = False
        if is_group(base):
            node = Node(stub_group(self._draft.id, base), base)
        elif is_dataset(base):
            dataset = open_dataset(base)
            made = stub_dataset(self._draft.id, dataset)
            contiguous = is_array(dataset) and dataset.info.chunks is None
            node = Node(made, base, source=base, implicit=contiguous)
            node.holds_array = is_array(dataset)
            has_references = dataset.info.has_references
        else:
            node = Node(stub_datatype(self._draft.id, base), base)
        self._by_base[address] = self._nodes[address_of(node.id)] = node
        self._unfinished.append((node, has_references))
        return node

    def _finish(self, node: Node, has_references: bool) -> None:  # noqa: FBT001
        # A version's own attributes are not those of the version before.
        own = layout.OWN_ATTRIBUTES if node.base is self.previous.id else frozenset()
        self.lost += copy_attributes(
            node.base, node.id, self._translate, select=lambda name: name not in own
        )
        if has_references:
            copy_values(node.base, node.id, self._translate)
            node.source = None

    def _translate(self, address: int) -> int | None:
        try:
            return address_of(self._stub(open_by_address(self.store.id, address)).id)
        except H5PY_ERRORS:
            return None  # it dangles

    def owns(self, obj: h5py.HLObject) -> bool:
        """Whether an object is of the draft."""
        return bool(_file_of(obj) == self._draft)

    def in_draft(self, obj: h5py.HLObject) -> h5py.HLObject:
        """Return what stands in the draft for an object of the store; others as they are."""
        if self.owns(obj) or _file_of(obj) != self.store:
            return obj
        kinds = (h5py.Group, h5py.Dataset, h5py.Datatype)
        kind = next(each for each in kinds if isinstance(obj, each))
        return kind(self.adopt(obj.id).id)

    # Groups

    def load(self, node: Node) -> None:
        """Take the links of a committed group over, to the placeholder where nobody went yet."""
        if node.base is None:
            node.links = ()
            return
        node.links = list_links(node.base)
        # Replacing a placeholder would change the order in which links were made.
        tracked = bool(node.id.get_create_plist().get_link_creation_order())
        for each in node.links:
            if each.kind is LinkKind.HARD:
                self._link_child(node, each, reach=tracked)
            elif each.kind is not LinkKind.USER_DEFINED:
                copy_link(each, node.id)

    def _link_child(self, node: Node, each: SourceLink, *, reach: bool) -> None:
        known = self._by_base.get(each.address)
        if known is None and reach:
            known = self.adopt(open_by_address(self.store.id, each.address))
        if known is None:
            node.waiting[each.name] = each.address
        link(known.id if known else self._placeholder, node.id, each.name, utf8=each.utf8)

    def is_placeholder(self, address: int) -> bool:
        """Whether an address of the draft is the placeholder's."""
        return address == self._placeholder_address

    def reach(self, group: Any, path: bytes, *, last: bool = True) -> None:
        """Make the objects on a path real, as far as there are any.

        Parameters
        ----------
        group
            Identifier of the group in the draft where the path begins.
        path
            Relative to it.
        last
            Whether a soft link at its end is followed.
        """
        self._follow(group, path, last=last, left=MOST_SOFT_LINKS)

    def _follow(self, group: Any, path: bytes, *, last: bool, left: int) -> Any | None:
        """Return what is at the end of a path, None where it ends nowhere or outside."""
        if path.startswith(b"/"):
            group = self._draft["/"].id
        at: Any = group
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        for i, name in enumerate(parts):
            if not is_group(at):
                return None
            self._load_if_known(at)
            found = find_link(at, name)
            if found is None:
                return None
            if found.kind is LinkKind.HARD:
                at = self._real(at, found)
            elif found.kind is LinkKind.SOFT and left and (last or i + 1 < len(parts)):
                at = self._follow(at, found.target, last=True, left=left - 1)
            else:
                return None
        return at

    def _load_if_known(self, group: Any) -> None:
        node = self._nodes.get(address_of(group))
        if node is not None and node.links is None:
            self.load(node)

    def _real(self, group: Any, found: SourceLink) -> Any:
        if not self.is_placeholder(found.address):
            return open_by_address(self._draft.id, found.address)
        node = self._nodes[address_of(group)]
        child = self.adopt(open_by_address(self.store.id, node.waiting.pop(found.name)))
        group.unlink(found.name)
        link(child.id, group, found.name, utf8=found.utf8)
        return child.id

    def reach_all(self, group: Any) -> None:
        """Make everything below a group real, soft and external links apart."""
        pending, seen = [group], {address_of(group)}
        while pending:
            at = pending.pop()
            self._load_if_known(at)
            for each in list_links(at):
                if each.kind is LinkKind.HARD:
                    child = self._real(at, each)
                    if is_group(child) and address_of(child) not in seen:
                        seen.add(address_of(child))
                        pending.append(child)

    def adopted(self) -> Iterator[Node]:
        """Yield the nodes that stand for committed objects, whatever leads to them by now."""
        yield from self._by_base.values()

    def objects(self, top: Any | None = None) -> Iterator[Node]:
        """Yield every object that is real by now, groups before what they hold.

        Parameters
        ----------
        top
            Identifier of the object in the draft to begin with, the version by default.
        """
        top = self.root.id if top is None else top
        pending, seen = [top], {address_of(top)}
        while pending:
            at = pending.pop()
            node = self.node_of(at)
            yield node
            for each in list_links(at) if is_group(at) else ():
                if each.kind is LinkKind.HARD and each.address not in seen:
                    seen.add(each.address)
                    if not self.is_placeholder(each.address):
                        pending.append(open_by_address(self._draft.id, each.address))

    # Its end

    def check(self) -> None:
        """Raise if anything staged could not be kept.

        Raises
        ------
        StoreWriteError
            There is no room for the temporary file.
        """
        self._scratch.check()

    def close(self, made: dict[int, Any]) -> None:
        """Drop the draft.

        Parameters
        ----------
        made
            What the objects of the draft have become: committed objects by addresses in the draft.
            It is empty when nothing was committed.
        """
        for wrapper in list(self.wrappers):
            wrapper.stage_ended(made.get(address_of(wrapper.id)))
        self._nodes.clear()
        self._by_base.clear()
        with suppress(VH5DError, OSError, RuntimeError):
            self._drafts.give_back(self._scratch)


def _file_of(obj: h5py.HLObject) -> h5py.File:
    return h5py.HLObject.file.fget(obj)
