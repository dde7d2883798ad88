"""Reading many chunk indexes that share nodes, each node once."""

from __future__ import annotations

import numpy as np

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


def unseen_records(read: Read, root: int, fmt: IndexFormat, seen: set[int]) -> ChunkRecords:
    """Return the chunks in those nodes of an index that are not in `seen`, and add them to it.

    Parameters
    ----------
    read, root, fmt
        As for `read_records`.
    seen
        Addresses of headers and nodes.

    Raises
    ------
    StoreDamagedError
        A node is not what was written.
    """
    if root == UNDEFINED or root in seen:
        return ChunkRecords.empty(fmt.ndim)
    header = read_header(read, root, fmt)
    nodes = Pointers(
        np.array([header.address], np.uint64),
        np.array([header.count], np.int64),
        np.array([header.total], np.int64),
    )
    found, visited = [], {root}
    for height in range(header.height, -1, -1):
        addresses = nodes.addresses.tolist()
        nodes = nodes.take(np.array([each not in seen for each in addresses], bool))
        if not len(nodes):
            break
        rows = read_nodes(read, nodes, height, fmt)
        found.append(node_records(rows, nodes.counts, height, fmt))
        visited.update(nodes.addresses.tolist())
        if height:
            nodes = node_children(rows, nodes.counts, height, fmt)
    # Only now: what lies below a damaged node must be met again by whoever shares it.
    seen |= visited
    return fmt.decode(np.concatenate(found)) if found else ChunkRecords.empty(fmt.ndim)
