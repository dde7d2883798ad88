"""The version-2 B-tree that indexes a dataset's chunks: how large its parts are, and its records.

HDF5 File Format Specification 3.0, III.A.2 (the tree; record types 10 and 11) and IV.A.2.i (the
layout message, index type 5). Internal nodes hold records too: a B-tree, not a B+-tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.chunk_records import ChunkRecords, grid_keys

#: Bytes a node: a small tree rewrites little when a chunk changes, a large one is read in fewer
#: pieces. 2048 is what HDF5 itself uses for chunk indexes.
SMALL_NODE, LARGE_NODE = 512, 2048
#: HDF5's own for chunk indexes: when it would split and merge nodes. It never does here.
SPLIT_PERCENT, MERGE_PERCENT = 100, 40
#: Signature, version and type before a node's records.
NODE_PREFIX = 6
_NODE_OVERHEAD = NODE_PREFIX + 4
_ADDRESS = 8
_MASK = 4
_MAX_NDIM = 32
# With fewer records a leaf, small nodes make the tree deep.
_LEAST_SMALL_LEAF = 6
# A tree of small nodes has this many levels of internal nodes at most.
_SMALL_DEPTH = 2


@dataclass(frozen=True)
class Level:
    """Nodes of one height: 0 for leaves.

    Attributes
    ----------
    capacity
        Most records in a node.
    subtree
        Most records in a node and everything below it.
    pointer
        Bytes of a pointer to a child, 0 in leaves.
    total_width
        Bytes that a parent spends on how many records lie below such a node; 0 for leaves.
    """

    capacity: int
    subtree: int
    pointer: int
    total_width: int


@dataclass(frozen=True)
class IndexFormat:
    """How one dataset's chunk index is laid out.

    Parameters
    ----------
    ndim
        Rank of the dataset, 1 to 32.
    chunk_nbytes
        Bytes of a chunk without filters.
    filtered
        Whether the dataset has filters: records then hold size and filter mask.
    node_size
        Bytes a node.
    """

    ndim: int
    chunk_nbytes: int
    filtered: bool
    node_size: int

    def __post_init__(self) -> None:
        if not 1 <= self.ndim <= _MAX_NDIM:
            raise ValueError(f"no chunk index has rank {self.ndim}")
        if self.chunk_nbytes < 1:
            raise ValueError("a chunk has at least one byte")
        if self.level(1).capacity < 2:
            raise ValueError(f"nodes of {self.node_size} bytes are too small for rank {self.ndim}")

    @classmethod
    def for_chunks(cls, ndim: int, chunk_nbytes: int, *, filtered: bool, n: int) -> IndexFormat:
        """The format to build an index of `n` chunks with."""
        fmt = cls(ndim, chunk_nbytes, filtered, LARGE_NODE)
        small = (SMALL_NODE - _NODE_OVERHEAD) // fmt.record_size >= _LEAST_SMALL_LEAF
        return replace(fmt, node_size=SMALL_NODE).grown(n) if small else fmt

    def grown(self, n: int) -> IndexFormat:
        """The format that an index of `n` chunks should have: this one, or one of larger nodes."""
        if self.node_size == SMALL_NODE and n > self.level(_SMALL_DEPTH).subtree:
            return replace(self, node_size=LARGE_NODE)
        return self

    @property
    def kind(self) -> int:
        """Type of the tree and its records."""
        return 11 if self.filtered else 10

    @cached_property
    def size_width(self) -> int:
        """Bytes of a stored chunk's size, 0 without filters.

        One more than the chunk's own size needs, 8 at most (`H5D__bt2_crt_context`).
        """
        if not self.filtered:
            return 0
        return min(8, 1 + (self.chunk_nbytes.bit_length() - 1 + 8) // 8)

    @cached_property
    def record_size(self) -> int:
        """Bytes of a record."""
        return _ADDRESS + (self.size_width + _MASK if self.filtered else 0) + 8 * self.ndim

    @cached_property
    def count_width(self) -> int:
        """Bytes that a parent spends on how many records a child itself has."""
        return _width(self.level(0).capacity)

    @cached_property
    def _levels(self) -> list[Level]:
        capacity = (self.node_size - _NODE_OVERHEAD) // self.record_size
        return [Level(capacity, capacity, 0, 0)]

    def level(self, height: int) -> Level:
        """Nodes `height` steps above the leaves."""
        while len(self._levels) <= height:
            below = self._levels[-1]
            pointer = _ADDRESS + _width(self._levels[0].capacity) + below.total_width
            room = self.node_size - _NODE_OVERHEAD - pointer
            capacity = room // (self.record_size + pointer)
            subtree = (capacity + 1) * below.subtree + capacity
            self._levels.append(Level(capacity, subtree, pointer, _width(subtree)))
        return self._levels[height]

    def encode(self, records: ChunkRecords) -> NDArray[np.uint8]:
        """Records as they stand in nodes: (n, record_size)."""
        n = len(records)
        raw = np.empty((n, self.record_size), np.uint8)
        raw[:, :_ADDRESS] = _bytes(records.addresses, "<u8")
        if self.filtered:
            if n and int(records.sizes.max()).bit_length() > 8 * self.size_width:
                raise ValueError(f"a stored chunk's size needs more than {self.size_width} bytes")
            end = _ADDRESS + self.size_width
            raw[:, _ADDRESS:end] = _bytes(records.sizes, "<u8")[:, : self.size_width]
            raw[:, end : end + _MASK] = _bytes(records.masks, "<u4")
        raw[:, -8 * self.ndim :] = _bytes(records.scaled, "<u8")
        return raw

    def decode(self, raw: NDArray[np.uint8]) -> ChunkRecords:
        """The reverse of `encode`."""
        n = len(raw)
        addresses = _numbers(raw[:, :_ADDRESS], "<u8").reshape(n)
        sizes = np.full(n, self.chunk_nbytes, np.uint64)
        masks = np.zeros(n, np.uint32)
        if self.filtered:
            end = _ADDRESS + self.size_width
            wide = np.zeros((n, 8), np.uint8)
            wide[:, : self.size_width] = raw[:, _ADDRESS:end]
            sizes = _numbers(wide, "<u8").reshape(n)
            masks = _numbers(raw[:, end : end + _MASK], "<u4").reshape(n).astype(np.uint32)
        return ChunkRecords(self.scaled(raw), addresses, sizes, masks)

    def scaled(self, raw: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Places in the chunk grid of encoded records: (n, ndim)."""
        return _numbers(raw[:, -8 * self.ndim :], "<u8").reshape(len(raw), self.ndim)

    def keys(self, raw: NDArray[np.uint8]) -> NDArray[np.bytes_]:
        """Keys of encoded records: (n,) byte strings in row-major order."""
        return grid_keys(self.scaled(raw))


def _width(limit: int) -> int:
    """Bytes for a number up to `limit` (`H5VM_limit_enc_size`)."""
    return (limit.bit_length() - 1) // 8 + 1


def _bytes(values: NDArray[np.unsignedinteger], dtype: str) -> NDArray[np.uint8]:
    packed = np.ascontiguousarray(values, dtype)
    width = packed.itemsize * math.prod(packed.shape[1:])
    return packed.view(np.uint8).reshape(len(packed), width)


def _numbers(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.uint64]:
    return np.ascontiguousarray(raw).view(dtype)
