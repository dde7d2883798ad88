"""Rows of pools whose chunks nobody needs any more.

Images name pages by their rows, so a row keeps its number for good: a dead one has a hash of zeros
and an undefined address, and `vh5d.store.pools` finds it under neither.
"""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.store import layout
from vh5d.store.pools import ROWS_A_CHUNK, UNPLACED, Pools

_DEAD = np.array([UNPLACED, 0, 0, 0], np.uint64)  # address, bytes, mask, source bytes


def bury(file: h5py.File, pools: Pools, live: dict[str, NDArray[np.bool_]]) -> int:
    """Mark the rows of all pools that are not live as dead; return how many were not yet.

    Parameters
    ----------
    file
        The store, open for writing; nothing is staged in its pools.
    pools
        They; to be loaded anew afterwards.
    live
        By the name of the pool, (n,) which of its rows are.
    """
    buried = 0
    for name, of_pool in live.items():
        dead = np.flatnonzero(pools[name].alive & ~of_pool)
        buried += len(dead)
        members = file[layout.POOLS][name]
        for block in _blocks(dead):
            # Whole chunks of the tables: far fewer calls than rows, and no more bytes journalled.
            within = dead[(dead >= block.start) & (dead < block.stop)] - block.start
            for table, value in (("hash_table", 0), ("chunk_table", _DEAD)):
                rows = members[table][block]
                rows[within] = value
                members[table][block] = rows
    pools.forget()
    return buried


def _blocks(rows: NDArray[np.intp]) -> Iterator[slice]:
    """Return slices along the tables' chunks that cover ascending rows."""
    chunks = np.unique(rows // ROWS_A_CHUNK)
    if not len(chunks):
        return
    breaks = np.flatnonzero(np.diff(chunks) != 1) + 1
    for run in np.split(chunks, breaks):
        yield slice(int(run[0]) * ROWS_A_CHUNK, (int(run[-1]) + 1) * ROWS_A_CHUNK)
