"""Reading a chunk index: all of it, some chunks, or what differs between two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.block_image import UNDEFINED
from vh5d.hdf5.chunk_records import ChunkRecords, grid_keys
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.index_nodes import (
    Pointers,
    Read,
    Root,
    node_children,
    node_records,
    read_header,
    read_nodes,
)


def read_records(read: Read, root: int, fmt: IndexFormat) -> ChunkRecords:
    """All chunks of an index.

    Parameters
    ----------
    read
        `read(address, nbytes)`, of the file or of what is staged.
    root
        Address of the index, or `UNDEFINED` when there are no chunks.
    fmt
        Its format.

    Raises
    ------
    StoreDamagedError
        A node is not what was written.
    """
    if root == UNDEFINED:
        return ChunkRecords.empty(fmt.ndim)
    return fmt.decode(read_encoded(read, read_header(read, root, fmt), fmt))


def read_encoded(read: Read, root: Root, fmt: IndexFormat) -> NDArray[np.uint8]:
    """All records of a tree as they stand in its nodes: (n, record_size), a level at a time."""
    found = np.empty((root.total, fmt.record_size), np.uint8)
    nodes, first = _root_node(root), np.zeros(1, np.int64)
    for height in range(root.height, -1, -1):
        if int(nodes.totals.sum()) + int(first[0]) > root.total:
            raise StoreDamagedError("chunk index: more records than its header says")
        rows = read_nodes(read, nodes, height, fmt)
        records = node_records(rows, nodes.counts, height, fmt)
        if not height:
            found[_spread(first, nodes.counts)] = records
            break
        children = node_children(rows, nodes.counts, height, fmt)
        parents = np.repeat(np.arange(len(nodes)), nodes.counts + 1)
        # Before a child lie its elder siblings with all below them, and a record after each.
        widths = children.totals + 1
        before = np.cumsum(widths) - widths
        eldest = np.cumsum(nodes.counts + 1) - (nodes.counts + 1)
        child_first = first[parents] + before - before[eldest][parents]
        youngest = np.zeros(len(children), bool)
        youngest[eldest + nodes.counts] = True
        found[(child_first + children.totals)[~youngest]] = records
        nodes, first = children, child_first
    return found


def _root_node(root: Root) -> Pointers:
    counts = np.array([root.count], np.int64)
    return Pointers(np.array([root.address], np.uint64), counts, np.array([root.total], np.int64))


def _spread(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs of `counts` consecutive numbers, each from its `first` on."""
    begins = np.cumsum(counts) - counts
    places: NDArray[np.int64] = np.arange(int(counts.sum())) + np.repeat(first - begins, counts)
    return places


def lookup(
    read: Read, root: int, fmt: IndexFormat, scaled: NDArray[np.uint64]
) -> tuple[ChunkRecords, NDArray[np.bool_]]:
    """Some chunks of an index.

    Parameters
    ----------
    read, root, fmt
        As for `read_records`.
    scaled
        (m, ndim) places in the chunk grid, in any order.

    Returns
    -------
    The chunks that exist, in the order asked for, and a mask (m,) of which do.
    """
    wanted = grid_keys(np.asarray(scaled, np.uint64).reshape(-1, fmt.ndim))
    found = np.zeros(len(wanted), bool)
    raw = np.zeros((len(wanted), fmt.record_size), np.uint8)
    if root != UNDEFINED and len(wanted):
        header = read_header(read, root, fmt)
        nodes, queries = _root_node(header), [np.argsort(wanted, kind="stable")]
        for height in range(header.height, -1, -1):
            rows = read_nodes(read, nodes, height, fmt)
            records = node_records(rows, nodes.counts, height, fmt)
            keys = fmt.keys(records)
            ends = np.cumsum(nodes.counts)
            chosen: list[int] = []
            below: list[NDArray[np.int64]] = []
            for i, (end, count, query) in enumerate(
                zip(ends.tolist(), nodes.counts.tolist(), queries, strict=True)
            ):
                own = keys[end - count : end]
                place = np.searchsorted(own, wanted[query])
                hit = own[np.minimum(place, count - 1)] == wanted[query]
                found[query[hit]] = True
                raw[query[hit]] = records[end - count + place[hit]]
                for child in np.unique(place[~hit]).tolist():
                    chosen.append(end - count + i + child)
                    below.append(query[~hit & (place == child)])
            if not height or not chosen:
                break
            children = node_children(rows, nodes.counts, height, fmt)
            nodes, queries = children.take(np.array(chosen, np.int64)), below
    return fmt.decode(raw[found]), found


def changes(
    read: Read, a: int, fmt_a: IndexFormat, b: int, fmt_b: IndexFormat
) -> tuple[ChunkRecords, ChunkRecords]:
    """What differs between two indexes; nodes that they share are not even read.

    Parameters
    ----------
    read
        `read(address, nbytes)`, of the file that holds both.
    a, fmt_a, b, fmt_b
        Addresses and formats of the earlier and the later index, of one rank.

    Returns
    -------
    Chunks of `a` that `b` does not have, and chunks of `b` that are new or differ from those in `a`
    (by address, stored size or mask).
    """
    raw_a, raw_b = _unshared(read, a, fmt_a, b, fmt_b)
    old, new = fmt_a.decode(raw_a), fmt_b.decode(raw_b)
    keys_a, keys_b = fmt_a.keys(raw_a), fmt_b.keys(raw_b)
    order_a, order_b = np.argsort(keys_a), np.argsort(keys_b)
    _, in_a, in_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    same = (
        (old.addresses[in_a] == new.addresses[in_b])
        & (old.sizes[in_a] == new.sizes[in_b])
        & (old.masks[in_a] == new.masks[in_b])
    )
    removed = np.ones(len(old), bool)
    removed[in_a] = False
    changed = np.ones(len(new), bool)
    changed[in_b[same]] = False
    return old.take(order_a[removed[order_a]]), new.take(order_b[changed[order_b]])


def _unshared(
    read: Read, a: int, fmt_a: IndexFormat, b: int, fmt_b: IndexFormat
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Records of both trees, in no order, but for those in nodes that both have.

    A node lies at one height in every tree that has it, so both are descended height by height.
    """
    if fmt_a.ndim != fmt_b.ndim:
        raise ValueError(f"indexes of rank {fmt_a.ndim} and {fmt_b.ndim} have nothing in common")
    tree_a, tree_b = _Descent(read, a, fmt_a), _Descent(read, b, fmt_b)
    for height in range(max(tree_a.height, tree_b.height), -1, -1):
        in_a, in_b = tree_a.addresses(height), tree_b.addresses(height)
        shared = np.intersect1d(in_a, in_b)
        tree_a.descend(height, shared)
        tree_b.descend(height, shared)
    return tree_a.records(), tree_b.records()


class _Descent:
    """One tree on the way down: nodes of the present height, records met so far."""

    def __init__(self, read: Read, root: int, fmt: IndexFormat) -> None:
        self._read, self._fmt = read, fmt
        self._found = [np.empty((0, fmt.record_size), np.uint8)]
        self.height = -1
        if root != UNDEFINED:
            header = read_header(read, root, fmt)
            self.height = header.height
            self._nodes = _root_node(header)

    def addresses(self, height: int) -> NDArray[np.uint64]:
        """Nodes of this height that are still of interest."""
        return self._nodes.addresses if height <= self.height else np.empty(0, np.uint64)

    def descend(self, height: int, shared: NDArray[np.uint64]) -> None:
        """Keep the records of nodes that are not shared, and go on with their children."""
        if height > self.height:
            return
        nodes = self._nodes.take(~np.isin(self._nodes.addresses, shared))
        rows = read_nodes(self._read, nodes, height, self._fmt)
        self._found.append(node_records(rows, nodes.counts, height, self._fmt))
        if height:
            self._nodes = node_children(rows, nodes.counts, height, self._fmt)

    def records(self) -> NDArray[np.uint8]:
        """Records met, in no order."""
        return np.concatenate(self._found)
