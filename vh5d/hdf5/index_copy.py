"""Copies of chunk indexes for another file: what shared a node shares its copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.block_image import BlockImage
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.index_nodes import (
    Pointers,
    Read,
    Root,
    add_header,
    add_nodes,
    node_children,
    node_records,
    read_nodes,
)
from vh5d.hdf5.index_reach import IndexFamily

Move = Callable[[NDArray[np.uint64]], NDArray[np.uint64]]
"""Where chunks are that were at these addresses."""


def copy_indexes(read: Read, family: IndexFamily, move: Move, image: BlockImage) -> dict[int, int]:
    """Stage copies of all indexes of a family.

    Parameters
    ----------
    read
        Reads the file that they are in.
    family
        They.
    move
        See `Move`.
    image
        Takes the copies.

    Returns
    -------
    The staged address of each header's copy by the address of the header.
    """
    below: tuple[NDArray[np.uint64], NDArray[np.uint64]] | None = None
    placed: dict[int, int] = {}
    for height, nodes in enumerate(family.layers):
        copies = _copy_layer(read, nodes, below, height, family.format, move, image)
        below = nodes.addresses, copies
        old = nodes.addresses.tolist()
        placed |= dict(zip(old, copies.tolist(), strict=True))
    return {
        address: add_header(
            Root(root.height, placed[root.address], root.count, root.total), family.format, image
        )
        for address, root in family.roots.items()
    }


def _copy_layer(
    read: Read,
    nodes: Pointers,
    below: tuple[NDArray[np.uint64], NDArray[np.uint64]] | None,
    height: int,
    fmt: IndexFormat,
    move: Move,
    image: BlockImage,
) -> NDArray[np.uint64]:
    copies = np.empty(len(nodes), np.uint64)
    for count in np.unique(nodes.counts).tolist():
        which = np.flatnonzero(nodes.counts == count)
        alike = nodes.take(which)
        rows = read_nodes(read, alike, height, fmt)
        records = node_records(rows, alike.counts, height, fmt).copy()
        _set_addresses(records, move(_addresses(records)))
        children = None
        if below is not None:
            theirs = node_children(rows, alike.counts, height, fmt)
            moved = below[1][np.searchsorted(below[0], theirs.addresses)]
            children = Pointers(moved, theirs.counts, theirs.totals)
        shaped = records.reshape(len(which), count, fmt.record_size)
        copies[which] = add_nodes(shaped, children, height, fmt, image)
    return copies


def _addresses(records: NDArray[np.uint8]) -> NDArray[np.uint64]:
    # A record begins with its chunk's address.
    found: NDArray[Any] = np.ascontiguousarray(records[:, :8]).view("<u8")
    return found[:, 0].astype(np.uint64)


def _set_addresses(records: NDArray[np.uint8], addresses: NDArray[np.uint64]) -> None:
    records[:, :8] = addresses.astype("<u8").view(np.uint8).reshape(-1, 8)
