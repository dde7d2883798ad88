"""Nodes of a chunk index in memory, while a new version of it is made.

A *strip* is a piece of one height of a tree: nodes, and the records between them. While a tree is
edited a strip may be irregular: a deleted separator leaves a gap without a record, a node that lost
everything leaves a gap with two. `Strips.settle` makes it regular again, and only nodes next to
such a gap are touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.index_build import group_sizes
from vh5d.hdf5.index_format import MERGE_PERCENT, IndexFormat
from vh5d.hdf5.index_nodes import Pointers, Read, node_children, node_records, read_nodes

Raw = NDArray[np.uint8]


@dataclass(eq=False, slots=True)
class Node:
    """A node, its content loaded or not.

    Attributes
    ----------
    height
        0 for a leaf.
    address
        None when it is new and not staged yet.
    count, total
        Records in it; in it and below it.
    records
        (count, record_size); None when not loaded.
    children
        count + 1 nodes; empty for a leaf, or when not loaded.
    """

    height: int
    address: int | None
    count: int
    total: int
    records: Raw | None = None
    children: Sequence[Node] = ()


@dataclass(eq=False, slots=True)
class Strip:
    """Nodes of one height and the records before, between and after them: one more gap than nodes.

    Regular: no records at either end, one in every gap between nodes.
    """

    nodes: list[Node]
    gaps: list[Raw]

    def append(self, gap: Raw, strip: Strip) -> None:
        """Add records, then another strip, at the right end."""
        self.gaps[-1] = _joined(self.gaps[-1], gap, strip.gaps[0])
        self.nodes += strip.nodes
        self.gaps += strip.gaps[1:]


def _joined(*parts: Raw) -> Raw:
    """Concatenated; most parts are empty, and then nothing is copied."""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else parts[0]
    return np.concatenate(some)


class Strips:
    """What can be done to strips of one tree.

    Parameters
    ----------
    read
        `read(address, nbytes)`, of the file and of what is staged.
    fmt
        The tree's format.
    """

    def __init__(self, read: Read, fmt: IndexFormat) -> None:
        self._read = read
        self._fmt = fmt
        self.nothing: Raw = np.empty((0, fmt.record_size), np.uint8)

    def load(self, nodes: Sequence[Node]) -> None:
        """Fetch the content of those nodes (of one height) that lack it."""
        wanted = [node for node in nodes if node.records is None]
        if not wanted:
            return
        height, fmt = wanted[0].height, self._fmt
        pointers = pointers_to(wanted)
        rows = read_nodes(self._read, pointers, height, fmt)
        records = node_records(rows, pointers.counts, height, fmt)
        ends = np.cumsum(pointers.counts).tolist()
        for node, end in zip(wanted, ends, strict=True):
            node.records = records[end - node.count : end]
        if height:
            below = node_children(rows, pointers.counts, height, fmt)
            values = (below.addresses.tolist(), below.counts.tolist(), below.totals.tolist())
            children = [Node(height - 1, *child) for child in zip(*values, strict=True)]
            for i, (node, end) in enumerate(zip(wanted, ends, strict=True)):
                node.children = children[end - node.count + i : end + i + 1]

    def records(self, node: Node) -> Raw:
        """A node's records, loaded when they are not yet."""
        if node.records is None:
            self.load((node,))
        return self.nothing if node.records is None else node.records

    def single(self, node: Node) -> Strip:
        """A strip of one node."""
        return Strip([node], [self.nothing, self.nothing])

    def below(self, node: Node) -> Strip:
        """The strip of an internal node's children."""
        records = self.records(node)
        between = [records[i : i + 1] for i in range(len(records))]
        return Strip(list(node.children), [self.nothing, *between, self.nothing])

    def leaves(self, records: Raw, *, edge: bool) -> Strip:
        """Leaves that hold `records`; none when there are none.

        `edge`: they end the tree, which grows there, so fill them from the left.
        """
        if not len(records):
            return Strip([], [self.nothing])
        capacity = self._fmt.level(0).capacity
        ends = np.cumsum(group_sizes(len(records) + 1, capacity + 1, left_full=edge)).tolist()
        begins = [0, *ends[:-1]]
        nodes = [
            Node(0, None, end - begin - 1, end - begin - 1, records[begin : end - 1])
            for begin, end in zip(begins, ends, strict=True)
        ]
        between = [records[end - 1 : end] for end in ends[:-1]]
        return Strip(nodes, [self.nothing, *between, self.nothing])

    def parents(self, strip: Strip, *, edge: bool) -> Strip:
        """Nodes one step up that hold `strip`, after settling it.

        A strip of one node gets a parent without records, which only its own parent can mend: it is
        merged with a sibling there, or left out at the root.
        """
        strip = self.settle(strip, edge=edge)
        if not strip.nodes:
            return strip
        height = strip.nodes[0].height + 1
        n, most = len(strip.nodes), self._fmt.level(height).capacity + 1
        sizes = group_sizes(n, most, left_full=edge).tolist() if n > 1 else [1]
        between = np.concatenate(strip.gaps[1:-1]) if n > 1 else self.nothing
        nodes, gaps, begin = [], [self.nothing], 0
        for size in sizes:
            children = strip.nodes[begin : begin + size]
            total = sum(child.total for child in children) + size - 1
            own = between[begin : begin + size - 1]
            nodes.append(Node(height, None, size - 1, total, own, children))
            begin += size
            gaps.append(between[begin - 1 : begin])
        gaps[-1] = self.nothing
        return Strip(nodes, gaps)

    def settle(self, strip: Strip, *, edge: bool) -> Strip:
        """A regular strip with the same records, new nodes that are too small merged.

        A strip without nodes is left as it is: records only.
        """
        if not strip.nodes:
            return strip
        return self._fill_up(self._close_gaps(strip, edge=edge), edge=edge)

    def _close_gaps(self, strip: Strip, *, edge: bool) -> Strip:
        done = Strip([], [strip.gaps[0]])
        last = strip.nodes[-1]
        for node, gap in zip(strip.nodes, strip.gaps[1:], strict=True):
            piece = self.single(node)
            if len(done.gaps[-1]) != (1 if done.nodes else 0):
                left = done.nodes.pop() if done.nodes else None
                middle = done.gaps.pop()
                if left is None:
                    done.gaps.append(self.nothing)
                piece = self._merge(left, middle, node, edge=edge and node is last)
            done.append(self.nothing, piece)
            done.gaps[-1] = gap
        if len(done.gaps[-1]):
            middle = done.gaps.pop()
            done.append(self.nothing, self._merge(done.nodes.pop(), middle, None, edge=edge))
        return done

    def _fill_up(self, strip: Strip, *, edge: bool) -> Strip:
        done = Strip([], [self.nothing])
        last = strip.nodes[-1]
        for node, gap in zip(strip.nodes, strip.gaps[1:], strict=True):
            at_edge = edge and node is last
            piece = self.single(node)
            if done.nodes and (
                self._too_small(done.nodes[-1], edge=False) or self._too_small(node, edge=at_edge)
            ):
                middle = done.gaps.pop()
                piece = self._merge(done.nodes.pop(), middle, node, edge=at_edge)
            done.append(self.nothing, piece)
            done.gaps[-1] = gap
        return done

    def _too_small(self, node: Node, *, edge: bool) -> bool:
        if node.address is not None:
            return False
        least = self._fmt.level(node.height).capacity * MERGE_PERCENT // 100
        return node.count < (1 if edge else max(1, least))

    def _merge(self, left: Node | None, middle: Raw, right: Node | None, *, edge: bool) -> Strip:
        """Two neighbours and the records between them as one or more nodes, regular."""
        pieces = [node for node in (left, right) if node is not None]
        if pieces[0].height == 0:
            parts = [self.nothing if node is None else self.records(node) for node in (left, right)]
            return self.leaves(_joined(parts[0], middle, parts[1]), edge=edge)
        strip = self.below(left) if left is not None else Strip([], [self.nothing])
        rest = self.below(right) if right is not None else Strip([], [self.nothing])
        strip.append(middle, rest)
        return self.parents(strip, edge=edge)


def pointers_to(nodes: Sequence[Node]) -> Pointers:
    """What parents say of nodes that have an address."""
    return Pointers(
        np.array([node.address for node in nodes], np.uint64),
        np.array([node.count for node in nodes], np.int64),
        np.array([node.total for node in nodes], np.int64),
    )
