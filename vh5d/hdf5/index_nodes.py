"""Nodes of a chunk index as bytes: composed, read, checked and taken apart, many at once.

HDF5 File Format Specification 3.0, III.A.2: `BTHD`, `BTIN` and `BTLF`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.block_image import STAGED, BlockImage
from vh5d.hdf5.checksum import checksum, lookup3
from vh5d.hdf5.index_format import MERGE_PERCENT, NODE_PREFIX, SPLIT_PERCENT, IndexFormat

#: `read(address, nbytes)`: bytes at an address as HDF5 stores it, relative to the userblock's end.
Read = Callable[[int, int], bytes]

_HEADER = struct.Struct("<4sBBIHHBBQHQ4s")
_ROOT_POSITION = 16
HEADER_NBYTES = _HEADER.size


@dataclass(frozen=True)
class Root:
    """What a tree's header says: where the root node is, and how much is below it."""

    height: int
    address: int
    count: int
    total: int


@dataclass(frozen=True)
class Pointers:
    """Nodes of one height as their parents name them: three (n,) arrays.

    Attributes
    ----------
    addresses
        Where they are.
    counts
        Records in the node.
    totals
        Records in the node and below it.
    """

    addresses: NDArray[np.uint64]
    counts: NDArray[np.int64]
    totals: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.addresses)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Pointers:
        """Some of them."""
        return Pointers(self.addresses[which], self.counts[which], self.totals[which])


def add_header(root: Root, fmt: IndexFormat, image: BlockImage) -> int:
    """Stage a tree's header; its staged address."""
    block = _HEADER.pack(
        b"BTHD", 0, fmt.kind, fmt.node_size, fmt.record_size, root.height,
        SPLIT_PERCENT, MERGE_PERCENT, root.address, root.count, root.total, bytes(4),
    )  # fmt: skip
    return image.add(block, pointers=(_ROOT_POSITION,))


def read_header(read: Read, address: int, fmt: IndexFormat) -> Root:
    """The header of the tree at `address`, which must have the given format.

    Raises
    ------
    StoreDamagedError
        It is something else, or its checksum is wrong.
    """
    block = read_exactly(read, address, _HEADER.size)
    signature, version, kind, node_size, record_size, height, _, _, root, count, total, stored = (
        _HEADER.unpack(block)
    )
    if (signature, version) != (b"BTHD", 0):
        raise StoreDamagedError(f"no chunk index at {address}")
    if address < STAGED and checksum(block[:-4]) != stored:
        raise StoreDamagedError(f"chunk index at {address}: wrong checksum")
    if (kind, node_size, record_size) != (fmt.kind, fmt.node_size, fmt.record_size):
        raise StoreDamagedError(f"chunk index at {address} is of another format")
    return Root(height, root, count, total)


def read_exactly(read: Read, address: int, nbytes: int) -> bytes:
    """`read`, a short answer made an error."""
    data = read(address, nbytes)
    if len(data) != nbytes:
        raise StoreDamagedError(f"the file ends within {nbytes} bytes at {address}")
    return data


def add_nodes(
    records: NDArray[np.uint8],
    children: Pointers | None,
    height: int,
    fmt: IndexFormat,
    image: BlockImage,
) -> NDArray[np.uint64]:
    """Stage nodes that have equally many records.

    Parameters
    ----------
    records
        (n, count, record_size) encoded records.
    children
        n × (count + 1) of them, node after node; None for leaves.

    Returns
    -------
    (n,) staged addresses.
    """
    n, count, _ = records.shape
    prefix = (b"BTIN" if height else b"BTLF") + bytes([0, fmt.kind])
    end = NODE_PREFIX + count * fmt.record_size
    width = fmt.level(height).pointer
    length = end + (count + 1) * width + 4
    rows = np.zeros((n, length), np.uint8)
    rows[:, :NODE_PREFIX] = np.frombuffer(prefix, np.uint8)
    rows[:, NODE_PREFIX:end] = records.reshape(n, -1)
    if children is not None:
        packed = _pack_pointers(children, height, fmt)
        rows[:, end : length - 4] = packed.reshape(n, -1)
    places = range(end, length - 4, width) if width else ()
    return image.add_rows(rows, size=fmt.node_size, pointers=places)


def _pack_pointers(children: Pointers, height: int, fmt: IndexFormat) -> NDArray[np.uint8]:
    packed = np.empty((len(children), fmt.level(height).pointer), np.uint8)
    total = 8 + fmt.count_width
    packed[:, :8] = _low_bytes(children.addresses, 8)
    packed[:, 8:total] = _low_bytes(children.counts, fmt.count_width)
    packed[:, total:] = _low_bytes(children.totals, fmt.level(height - 1).total_width)
    return packed


def _low_bytes(values: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    return values.astype("<u8").view(np.uint8).reshape(len(values), 8)[:, :width]


def _from_low_bytes(raw: NDArray[np.uint8]) -> NDArray[np.uint64]:
    wide = np.zeros((len(raw), 8), np.uint8)
    wide[:, : raw.shape[1]] = raw
    return wide.view("<u8").reshape(len(raw))


def read_nodes(read: Read, nodes: Pointers, height: int, fmt: IndexFormat) -> NDArray[np.uint8]:
    """Bytes of nodes of one height: (n, node_size), checked against their checksums.

    Nodes that lie one after another are read at once. Staged nodes have no checksums yet.

    Raises
    ------
    StoreDamagedError
        What is there is not such a node.
    """
    addresses = nodes.addresses
    step = np.uint64(fmt.node_size)
    breaks = np.flatnonzero(addresses[1:] != addresses[:-1] + step) + 1
    ends = [*breaks.tolist(), len(nodes)] if len(nodes) else []
    parts, start = [b""], 0
    for end in ends:
        parts.append(read_exactly(read, int(addresses[start]), (end - start) * fmt.node_size))
        start = end
    rows = np.frombuffer(b"".join(parts), np.uint8).reshape(len(nodes), fmt.node_size)
    _check_nodes(rows, nodes, height, fmt)
    return rows


def _check_nodes(rows: NDArray[np.uint8], nodes: Pointers, height: int, fmt: IndexFormat) -> None:
    if (
        len(nodes)
        and not 0 < nodes.counts.min() <= nodes.counts.max() <= fmt.level(height).capacity
    ):
        raise StoreDamagedError("chunk index: a node of impossible size")
    prefix = np.frombuffer((b"BTIN" if height else b"BTLF") + bytes([0, fmt.kind]), np.uint8)
    right = (rows[:, :NODE_PREFIX] == prefix).all(axis=1)
    settled = nodes.addresses < STAGED
    width = fmt.level(height).pointer
    for count in np.unique(nodes.counts[settled]).tolist():
        which = np.flatnonzero(settled & (nodes.counts == count))
        end = NODE_PREFIX + count * fmt.record_size + (count + 1) * width
        blocks = rows[which, : end + 4]
        stored = np.ascontiguousarray(blocks[:, end:]).view("<u4")[:, 0]
        right[which] &= lookup3(blocks[:, :end]) == stored
    if not right.all():
        where = int(nodes.addresses[np.argmin(right)])
        raise StoreDamagedError(f"chunk index: the node at {where} is damaged")


def node_records(
    rows: NDArray[np.uint8], counts: NDArray[np.int64], height: int, fmt: IndexFormat
) -> NDArray[np.uint8]:
    """Encoded records of nodes, node after node: (sum of counts, record_size)."""
    capacity = fmt.level(height).capacity
    area = rows[:, NODE_PREFIX : NODE_PREFIX + capacity * fmt.record_size]
    slots = area.reshape(len(rows), capacity, fmt.record_size)
    records: NDArray[np.uint8] = slots[np.arange(capacity) < counts[:, np.newaxis]]
    return records


def node_children(
    rows: NDArray[np.uint8], counts: NDArray[np.int64], height: int, fmt: IndexFormat
) -> Pointers:
    """Children of internal nodes, node after node: sum of (counts + 1) of them."""
    width = fmt.level(height).pointer
    first = np.cumsum(counts + 1) - (counts + 1)
    packed = np.empty((int((counts + 1).sum()), width), np.uint8)
    for count in np.unique(counts).tolist():
        which = np.flatnonzero(counts == count)
        start = NODE_PREFIX + count * fmt.record_size
        area = rows[which, start : start + (count + 1) * width]
        packed[np.add.outer(first[which], np.arange(count + 1)).ravel()] = area.reshape(-1, width)
    total = 8 + fmt.count_width
    addresses = _from_low_bytes(packed[:, :8])
    child_counts = _from_low_bytes(packed[:, 8:total]).astype(np.int64)
    totals = _from_low_bytes(packed[:, total:]).astype(np.int64) if height > 1 else child_counts
    return Pointers(addresses, child_counts, totals)
