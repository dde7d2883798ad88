"""A second, plain reading of chunk indexes: an oracle for tests of anything that writes them.

It goes node by node with `struct`, shares no code with vh5d, and checks what must hold of every
version-2 B-tree of chunks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.lookup3 import hashlittle

Key = tuple[int, ...]
Value = tuple[int, int, int]  # address, stored bytes, filter mask


@dataclass
class Tree:
    """What was found: chunks by place, and the nodes that hold them, by address."""

    records: dict[Key, Value] = field(default_factory=dict)
    leaves: set[int] = field(default_factory=set)
    internal: set[int] = field(default_factory=set)
    height: int = -1

    @property
    def nodes(self) -> set[int]:
        return self.leaves | self.internal


def walk(read: Callable[[int, int], bytes], root: int, ndim: int, chunk_nbytes: int) -> Tree:
    """Read a whole index from a file; AssertionError when anything is not as it must be."""
    tree = Tree()
    if root == 2**64 - 1:
        return tree
    block = read(root, 38)
    assert block[:5] == b"BTHD\0"
    assert block[-4:] == struct.pack("<I", hashlittle(block[:-4]))
    kind, node_size, record, height = struct.unpack_from("<BIHH", block, 5)
    address, count, total = struct.unpack_from("<QHQ", block, 16)
    assert kind in (10, 11)
    size_width = min(8, 1 + (chunk_nbytes.bit_length() + 7) // 8) if kind == 11 else 0
    assert record == 8 + 8 * ndim + (size_width + 4 if kind == 11 else 0)
    tree.height = height
    walker = _Walker(read, tree, kind, node_size, record, size_width, chunk_nbytes, ndim)
    found = walker.visit(address, count, height)
    assert found == total == len(tree.records)
    assert list(tree.records) == sorted(tree.records), "records are in row-major order"
    return tree


def _width(limit: int) -> int:
    return max(1, (limit.bit_length() + 7) // 8)


@dataclass
class _Walker:
    read: Callable[[int, int], bytes]
    tree: Tree
    kind: int
    node_size: int
    record: int
    size_width: int
    chunk_nbytes: int
    ndim: int

    def capacity(self, height: int) -> tuple[int, int, int]:
        """Most records in a node, most in and below it, bytes of a total."""
        if not height:
            most = (self.node_size - 10) // self.record
            return most, most, 0
        _, below, below_width = self.capacity(height - 1)
        pointer = 8 + _width(self.capacity(0)[0]) + below_width
        most = (self.node_size - 10 - pointer) // (self.record + pointer)
        subtree = (most + 1) * below + most
        return most, subtree, _width(subtree)

    def visit(self, address: int, count: int, height: int) -> int:
        block = self.read(address, self.node_size)
        assert len(block) == self.node_size, "a node is there as a whole"
        assert block[:6] == (b"BTIN" if height else b"BTLF") + bytes([0, self.kind])
        assert 1 <= count <= self.capacity(height)[0], "neither empty nor lone child nor overfull"
        (self.tree.internal if height else self.tree.leaves).add(address)
        end = 6 + count * self.record
        raw = [block[i : i + self.record] for i in range(6, end, self.record)]
        if not height:
            self.check(block, end)
            for one in raw:
                self.keep(one)
            return count
        widths = 8, _width(self.capacity(0)[0]), self.capacity(height - 1)[2]
        total = count
        for i in range(count + 1):
            child = []
            for width in widths:
                child.append(int.from_bytes(block[end : end + width], "little"))
                end += width
            below = self.visit(child[0], child[1], height - 1)
            assert below == (child[2] if height > 1 else child[1])
            total += below
            if i < count:
                self.keep(raw[i])
        self.check(block, end)
        return total

    def check(self, block: bytes, end: int) -> None:
        assert block[end : end + 4] == struct.pack("<I", hashlittle(block[:end]))
        assert not any(block[end + 4 :])

    def keep(self, raw: bytes) -> None:
        size, mask = self.chunk_nbytes, 0
        if self.size_width:
            size = int.from_bytes(raw[8 : 8 + self.size_width], "little")
            mask = int.from_bytes(raw[8 + self.size_width : 12 + self.size_width], "little")
        key = struct.unpack(f"<{self.ndim}Q", raw[-8 * self.ndim :])
        assert key not in self.tree.records
        self.tree.records[key] = (int.from_bytes(raw[:8], "little"), size, mask)
