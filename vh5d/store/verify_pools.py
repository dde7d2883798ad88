"""Checks every chunk of the pools against its hash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.store.datasets import Read
from vh5d.store.pools import ADDRESS, STORED, Pool, hash_chunk

BATCH_NBYTES = 8 << 20
BATCH_CHUNKS = 4096
MOST_NBYTES = 1 << 32  # HDF5 has no larger chunks: the entry is damaged

Progress = Callable[[int, int], None]


class CheckedPool:
    """A pool, and what is wrong with it.

    Parameters
    ----------
    pool
        The pool.
    bad
        (k,) its rows that are not what was written.
    """

    def __init__(self, pool: Pool, bad: NDArray[np.int64]) -> None:
        self.pool = pool
        self.bad = bad
        addresses = pool.table[:, ADDRESS]
        self._order = np.argsort(addresses, kind="stable")
        self._known = addresses[self._order]

    def rows_at(
        self, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """Return the rows of the chunks that lie there; -1 where no good one of that size does."""
        if not len(self._known):
            return np.full(len(addresses), -1, np.int64)
        at = np.minimum(np.searchsorted(self._known, addresses), len(self._known) - 1)
        rows = self._order[at]
        good = (self._known[at] == addresses) & (self.pool.table[rows, STORED] == sizes)
        good &= ~np.isin(rows, self.bad)
        return np.where(good, rows, -1)


def check_pool(
    read: Read, pool: Pool, *, threads: int | None, advance: Callable[[int], None]
) -> CheckedPool:
    """Decode and hash every chunk of a pool.

    Parameters
    ----------
    read
        Reads the store; safe to call from several threads.
    pool
        The pool.
    threads
        How many; by default one a core.
    advance
        Is told how many bytes were read.
    """

    def work(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        bad = [row for row in rows.tolist() if not _is_good(read, pool, row)]
        return np.array(bad, np.int64), int(_sizes(pool)[rows].sum())

    found = [np.empty(0, np.int64)]
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as executor:
        for bad, nbytes in executor.map(work, _batches(pool)):
            found.append(bad)
            advance(nbytes)
    return CheckedPool(pool, np.sort(np.concatenate(found)))


def _is_good(read: Read, pool: Pool, row: int) -> bool:
    address, stored, mask, nbytes = pool.table[row].tolist()
    if address >= 1 << 63 or max(stored, nbytes) > MOST_NBYTES:
        return False
    try:
        data = pool.encoding.decode(read(address, stored), mask, nbytes)
    except (StoreDamagedError, OSError, ValueError, MemoryError):
        return False
    return bool(hash_chunk(data) == pool.hashes[row].tobytes())


def _batches(pool: Pool) -> Iterator[NDArray[np.int64]]:
    """Group the rows, in the order in which their chunks lie in the file."""
    order = np.argsort(pool.table[:, ADDRESS], kind="stable")
    order = order[pool.alive[order]]
    ends = np.cumsum(_sizes(pool)[order])
    start = 0
    while start < len(order):
        already = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, already + BATCH_NBYTES, side="right"))
        stop = min(max(stop, start + 1), start + BATCH_CHUNKS)
        yield order[start:stop]
        start = stop


def _sizes(pool: Pool) -> NDArray[np.uint64]:
    return np.minimum(pool.table[:, STORED], np.uint64(BATCH_NBYTES))


def pool_nbytes(pool: Pool) -> int:
    """Return how many bytes a pool's chunks are, as far as `advance` is told."""
    return int(_sizes(pool).sum())
