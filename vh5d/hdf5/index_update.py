"""A new version of a chunk index that shares every node it can with the old one.

Path copying: a node that changes is written anew, and so is every node above it; all others keep
their addresses. Appended chunks fill the tree's right edge; elsewhere full nodes split and small
ones merge with a neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.block_image import UNDEFINED, BlockImage
from vh5d.hdf5.chunk_records import ChunkRecords, grid_keys
from vh5d.hdf5.index_build import build, build_encoded, check_records
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.index_nodes import Read, Root, add_header, add_nodes, read_header
from vh5d.hdf5.index_read import read_encoded
from vh5d.hdf5.index_strip import Node, Raw, Strip, Strips, pointers_to


def update(
    read: Read,
    root: int,
    fmt: IndexFormat,
    puts: ChunkRecords,
    removes: NDArray[np.uint64],
    image: BlockImage,
) -> tuple[int, IndexFormat]:
    """Stage the index that comes of another by putting and removing chunks.

    Parameters
    ----------
    read
        `read(address, nbytes)`, of the file; of `image` too when the old index is staged there.
    root
        Address of the old index, or `UNDEFINED`. It stays as it is.
    fmt
        Its format.
    puts
        Chunks that are new or replace the one at their place, in row-major order.
    removes
        (m, ndim) places of chunks to be taken out; those that are not there, or are put, are passed
        over.
    image
        Where the new nodes go.

    Returns
    -------
    Address of the new index and its format: a tree that outgrew small nodes gets large ones. The
    old address when nothing changed, `UNDEFINED` when no chunk is left.

    Raises
    ------
    ValueError
        `puts` are out of order.
    StoreDamagedError
        A node of the old index is not what was written.
    """
    check_records(puts, fmt)
    if root == UNDEFINED:
        grown = fmt.grown(len(puts))
        return build(puts, grown, image), grown
    edits = _edits(puts, removes, fmt)
    old = read_header(read, root, fmt)
    if fmt.grown(old.total + len(puts)) != fmt:
        records = _applied(read_encoded(read, old, fmt), edits, fmt)
        grown = fmt.grown(len(records))
        if grown != fmt:
            return build_encoded(records, grown, image), grown
    return _Update(read, fmt, image).run(root, old, edits), fmt


@dataclass(frozen=True, eq=False)
class _Edits:
    """Edits in row-major order, each place once: put `raw[i]` where `put[i]`, else remove."""

    keys: NDArray[np.bytes_]
    raw: Raw
    put: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, which: NDArray[np.bool_] | slice) -> _Edits:
        return _Edits(self.keys[which], self.raw[which], self.put[which])


def _edits(puts: ChunkRecords, removes: NDArray[np.uint64], fmt: IndexFormat) -> _Edits:
    raw = fmt.encode(puts)
    put_keys = fmt.keys(raw)
    places = np.asarray(removes, np.uint64).reshape(-1, fmt.ndim)
    removed = np.setdiff1d(grid_keys(places), put_keys)
    keys = np.concatenate([put_keys, removed])
    rows = np.concatenate([raw, np.zeros((len(removed), fmt.record_size), np.uint8)])
    order = np.argsort(keys, kind="stable")
    return _Edits(keys[order], rows[order], order < len(raw))


def _located(
    records: Raw, edits: _Edits, fmt: IndexFormat
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each edit falls among a node's records, and whether it hits one of them."""
    keys = fmt.keys(records)
    place = np.searchsorted(keys, edits.keys)
    if not len(keys):
        return place, np.zeros(len(edits), bool)
    return place, keys[np.minimum(place, len(keys) - 1)] == edits.keys


def _applied(records: Raw, edits: _Edits, fmt: IndexFormat) -> Raw:
    """Records after the edits."""
    place, hit = _located(records, edits, fmt)
    replaced = records.copy()
    replaced[place[hit & edits.put]] = edits.raw[hit & edits.put]
    inserted, removed = ~hit & edits.put, hit & ~edits.put
    if not (inserted.any() or removed.any()):
        return replaced
    keep = np.ones(len(records), bool)
    keep[place[removed]] = False
    kept = replaced[keep]
    at = place[inserted] - np.cumsum(~keep)[place[inserted] - 1] * (place[inserted] > 0)
    return np.insert(kept, at, edits.raw[inserted], axis=0)


class _Update:
    """One update of one tree."""

    def __init__(self, read: Read, fmt: IndexFormat, image: BlockImage) -> None:
        self._fmt = fmt
        self._image = image
        self._strips = Strips(read, fmt)

    def run(self, header: int, old: Root, edits: _Edits) -> int:
        """The address of the new header."""
        root = Node(old.height, old.address, old.count, old.total)
        self._load_touched(root, edits)
        strip = self._edited(root, edits, edge=True)
        while len(strip.nodes) > 1:
            strip = self._strips.parents(strip, edge=True)
        if not strip.nodes:
            left = strip.gaps[0]
            return build_encoded(left, self._fmt, self._image) if len(left) else UNDEFINED
        top = strip.nodes[0]
        while top.height and not top.count:
            top = top.children[0]
        if top is root:
            return header
        address = self._stage(top)
        return add_header(Root(top.height, address, top.count, top.total), self._fmt, self._image)

    def _load_touched(self, root: Node, edits: _Edits) -> None:
        """Fetch all nodes that edits fall into, a level at a time: so they are read in bulk."""
        touched = [(root, edits)] if len(edits) else []
        while touched:
            self._strips.load([node for node, _ in touched])
            touched = [
                (node.children[i], part)
                for node, some in touched
                if node.height
                for i, part in self._routed(node, some).items()
            ]

    def _routed(self, node: Node, edits: _Edits) -> dict[int, _Edits]:
        """Edits that go to an internal node's children, by child."""
        place, hit = _located(self._strips.records(node), edits, self._fmt)
        passed, place = edits.take(~hit), place[~hit]
        children, begins = np.unique(place, return_index=True)
        ends = [*begins.tolist(), len(place)][1:]
        return {
            child: passed.take(slice(begin, end))
            for child, begin, end in zip(children.tolist(), begins.tolist(), ends, strict=True)
        }

    def _edited(self, node: Node, edits: _Edits, *, edge: bool) -> Strip:
        """What takes a node's place: itself when nothing changes."""
        if not len(edits):
            return self._strips.single(node)
        if node.height:
            return self._edited_internal(node, edits, edge=edge)
        records = self._strips.records(node)
        new = _applied(records, edits, self._fmt)
        if np.array_equal(new, records):
            return self._strips.single(node)
        return self._strips.leaves(new, edge=edge)

    def _edited_internal(self, node: Node, edits: _Edits, *, edge: bool) -> Strip:
        records = self._strips.records(node)
        place, hit = _located(records, edits, self._fmt)
        separators = records.copy()
        separators[place[hit & edits.put]] = edits.raw[hit & edits.put]
        removed = set(place[hit & ~edits.put].tolist())
        parts = self._routed(node, edits)
        nothing = self._strips.nothing
        strip, gap = Strip([], [nothing]), nothing
        for i, child in enumerate(node.children):
            piece = self._strips.single(child)
            if i in parts:
                piece = self._edited(child, parts[i], edge=edge and i == node.count)
            strip.append(gap, piece)
            gap = nothing if i in removed else separators[i : i + 1]
        same = len(strip.nodes) == len(node.children) and all(map(_is, strip.nodes, node.children))
        if same and not removed and np.array_equal(separators, records):
            return self._strips.single(node)
        return self._strips.parents(strip, edge=edge)

    def _stage(self, top: Node) -> int:
        """Stage all new nodes, leaves first; the address of the topmost."""
        if top.address is not None:
            return top.address
        levels = [[top]]
        while levels[-1] and levels[-1][0].height:
            children = (child for node in levels[-1] for child in node.children)
            levels.append([child for child in children if child.address is None])
        address = UNDEFINED
        for nodes in reversed(levels):
            by_count: dict[int, list[Node]] = {}
            for node in nodes:
                by_count.setdefault(node.count, []).append(node)
            for group in by_count.values():
                address = self._stage_alike(group)
        return address

    def _stage_alike(self, nodes: list[Node]) -> int:
        """Stage nodes of one height that have equally many records; the address of the last."""
        records = np.stack([self._strips.records(node) for node in nodes])
        children = [child for node in nodes for child in node.children]
        below = pointers_to(children) if children else None
        addresses = add_nodes(records, below, nodes[0].height, self._fmt, self._image)
        for node, address in zip(nodes, addresses.tolist(), strict=True):
            node.address = address
        return int(addresses[-1])


def _is(a: Node, b: Node) -> bool:
    return a is b
