"""What can still be read of a damaged chunk index."""

from __future__ import annotations

import numpy as np

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.block_image import UNDEFINED
from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.index_nodes import (
    Pointers,
    Read,
    node_children,
    node_records,
    read_header,
    read_nodes,
)


def salvage(read: Read, root: int, fmt: IndexFormat) -> ChunkRecords:
    """Return the records in those nodes whose checksums are right.

    Parameters
    ----------
    read
        `read(address, nbytes)` of the file.
    root
        Address of the index, or `UNDEFINED` when there are no chunks.
    fmt
        Its format.

    Returns
    -------
    Some of its chunks, in row-major order; none if its header is damaged.
    """
    found = [np.empty((0, fmt.record_size), np.uint8)]
    if root != UNDEFINED:
        try:
            header = read_header(read, root, fmt)
        except StoreDamagedError:
            return ChunkRecords.empty(fmt.ndim)
        level = [_node(header.address, header.count, header.total)]
        for height in range(header.height, -1, -1):
            below: list[Pointers] = []
            for node in level:
                try:
                    rows = read_nodes(read, node, height, fmt)
                except StoreDamagedError:
                    continue
                found.append(node_records(rows, node.counts, height, fmt))
                if height:
                    below += _each(node_children(rows, node.counts, height, fmt))
            level = below
    every = fmt.decode(np.concatenate(found))
    return ChunkRecords.from_unsorted(every.scaled, every.addresses, every.sizes, every.masks)


def _node(address: int, count: int, total: int) -> Pointers:
    return Pointers(np.array([address], np.uint64), np.array([count]), np.array([total]))


def _each(nodes: Pointers) -> list[Pointers]:
    return [nodes.take(np.array([i], np.int64)) for i in range(len(nodes))]
