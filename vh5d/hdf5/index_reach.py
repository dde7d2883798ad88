"""All nodes and chunks of many chunk indexes, each shared one once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.block_image import UNDEFINED
from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.index_nodes import (
    HEADER_NBYTES,
    Pointers,
    Read,
    Root,
    node_children,
    node_records,
    read_header,
    read_nodes,
)
from vh5d.hdf5.ranges import NONE, Ranges, of_extents

_BATCH = 4096  # nodes that are in memory at once


@dataclass(frozen=True)
class IndexFamily:
    """Indexes of one format, that may share nodes.

    Attributes
    ----------
    format
        Of all of them.
    roots
        By the address of its header, what each index's header says.
    layers
        The nodes of each height, leaves first; each node once, by ascending address.
    """

    format: IndexFormat
    roots: dict[int, Root]
    layers: tuple[Pointers, ...]

    @property
    def blocks(self) -> Ranges:
        """Where headers and nodes lie."""
        headers = np.array(list(self.roots), np.int64)
        parts = [of_extents(headers, np.full(len(headers), HEADER_NBYTES))]
        for nodes in self.layers:
            sizes = np.full(len(nodes), self.format.node_size)
            parts.append(of_extents(nodes.addresses, sizes))
        return np.concatenate(parts)


def reach(
    read: Read, indexes: Iterable[tuple[int, IndexFormat]]
) -> Iterator[tuple[IndexFamily, NDArray[np.uint64], NDArray[np.uint64]]]:
    """Find everything that indexes consist of, and lead to.

    Parameters
    ----------
    read
        `read(address, nbytes)` of the file.
    indexes
        Address and format of each.

    Yields
    ------
    family
        The indexes of one format.
    addresses, sizes
        (n,) of the chunks that these lead to, each address once.

    Raises
    ------
    StoreDamagedError
        A node is not what was written.
    """
    by_format: dict[IndexFormat, set[int]] = {}
    for root, fmt in indexes:
        if root != UNDEFINED:
            by_format.setdefault(fmt, set()).add(root)
    for fmt, addresses in by_format.items():
        yield _descend(read, {each: read_header(read, each, fmt) for each in addresses}, fmt)


def _descend(
    read: Read, roots: dict[int, Root], fmt: IndexFormat
) -> tuple[IndexFamily, NDArray[np.uint64], NDArray[np.uint64]]:
    layers: list[Pointers] = []
    chunks = [NONE.astype(np.uint64)]
    below: list[Pointers] = []
    for height in range(max(root.height for root in roots.values()), -1, -1):
        nodes = _distinct([*below, _tops(roots, height)])
        layers.append(nodes)
        below = []
        for batch in _batches(nodes):
            rows = read_nodes(read, batch, height, fmt)
            chunks.append(_places(fmt.decode(node_records(rows, batch.counts, height, fmt))))
            if height:
                below.append(node_children(rows, batch.counts, height, fmt))
    found = np.concatenate(chunks)
    _, first = np.unique(found[:, 0], return_index=True)
    family = IndexFamily(fmt, roots, tuple(reversed(layers)))
    return family, found[first, 0], found[first, 1]


def _places(records: ChunkRecords) -> NDArray[np.uint64]:
    return np.stack([records.addresses, records.sizes], axis=1)


def _tops(roots: dict[int, Root], height: int) -> Pointers:
    tops = [(each.address, each.count, each.total) for each in roots.values()
            if each.height == height]  # fmt: skip
    table = np.array(tops, np.uint64).reshape(-1, 3)
    return Pointers(table[:, 0], table[:, 1].astype(np.int64), table[:, 2].astype(np.int64))


def _distinct(parts: list[Pointers]) -> Pointers:
    joined = Pointers(
        np.concatenate([each.addresses for each in parts]),
        np.concatenate([each.counts for each in parts]),
        np.concatenate([each.totals for each in parts]),
    )
    _, first = np.unique(joined.addresses, return_index=True)
    return joined.take(first)


def _batches(nodes: Pointers) -> Iterator[Pointers]:
    for start in range(0, len(nodes), _BATCH):
        yield nodes.take(np.arange(start, min(start + _BATCH, len(nodes))))
