"""Building a chunk index in bulk: a level at a time, full from the left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.block_image import UNDEFINED, BlockImage
from vh5d.hdf5.chunk_records import ChunkRecords, is_ascending
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.index_nodes import Pointers, Root, add_header, add_nodes


def build(records: ChunkRecords, fmt: IndexFormat, image: BlockImage) -> int:
    """Stage an index of `records`.

    Parameters
    ----------
    records
        Chunks in row-major order, each once.
    fmt
        As `IndexFormat.for_chunks` gives it, or another.
    image
        Where header and nodes go.

    Returns
    -------
    The staged address of its header; `UNDEFINED` when there are no chunks.

    Raises
    ------
    ValueError
        The records are out of order, or of another rank.
    """
    check_records(records, fmt)
    return build_encoded(fmt.encode(records), fmt, image) if len(records) else UNDEFINED


def check_records(records: ChunkRecords, fmt: IndexFormat) -> None:
    """Raise ValueError unless the records are in row-major order and of the format's rank."""
    if records.scaled.ndim != 2 or records.scaled.shape[1] != fmt.ndim:
        raise ValueError(f"places of shape {records.scaled.shape} for an index of rank {fmt.ndim}")
    if not is_ascending(records.scaled):
        raise ValueError("chunk records must be in row-major order, each once")


def build_encoded(raw: NDArray[np.uint8], fmt: IndexFormat, image: BlockImage) -> int:
    """Stage an index of encoded records, at least one; the staged address of its header."""
    nodes: Pointers | None = None
    height = 0
    while True:
        slots = len(raw) + 1
        sizes = group_sizes(slots, fmt.level(height).capacity + 1, left_full=True)
        nodes = _add_level(raw, sizes - 1, nodes, height, fmt, image)
        if len(nodes) == 1:
            break
        raw = raw[np.cumsum(sizes)[:-1] - 1]
        height += 1
    root = Root(height, int(nodes.addresses[0]), int(nodes.counts[0]), int(nodes.totals[0]))
    return add_header(root, fmt, image)


def group_sizes(slots: int, most: int, *, left_full: bool) -> NDArray[np.int64]:
    """How many slots go to each node of a level: as few nodes as possible, none with fewer than 2.

    A node with g slots has g - 1 records, and g children unless it is a leaf. One record lies
    between every two nodes: it goes up.

    Parameters
    ----------
    slots
        Records of the level and one more; at least 2.
    most
        Most slots in a node; at least 3.
    left_full
        Full nodes first and what is left in the last (for a tree that grows to the right), or all
        of nearly one size.
    """
    n = -(-slots // most)
    if not left_full:
        few, more = divmod(slots, n)
        return few + (np.arange(n) < more).astype(np.int64)
    sizes = np.full(n, most, np.int64)
    sizes[-1] = slots - (n - 1) * most
    if n > 1 and sizes[-1] == 1:
        sizes[-2:] = most - 1, 2
    return sizes


def _add_level(
    raw: NDArray[np.uint8],
    counts: NDArray[np.int64],
    children: Pointers | None,
    height: int,
    fmt: IndexFormat,
    image: BlockImage,
) -> Pointers:
    """Stage a level's nodes; records between nodes are left out."""
    first = np.cumsum(counts + 1) - (counts + 1)
    addresses = np.empty(len(counts), np.uint64)
    for count in np.unique(counts)[::-1].tolist():
        which = np.flatnonzero(counts == count)
        slots = np.add.outer(first[which], np.arange(count + 1))
        below = None if children is None else children.take(slots.ravel())
        addresses[which] = add_nodes(raw[slots[:, :-1]], below, height, fmt, image)
    if children is None:
        return Pointers(addresses, counts, counts)
    return Pointers(addresses, counts, counts + np.add.reduceat(children.totals, first))
