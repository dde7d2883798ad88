"""Writes new chunks to a store, many at a time, behind everything that is committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vh5d.store.pools import Pool

BATCH_NBYTES = 16 << 20

Allocate = Callable[[int], int]
Write = Callable[[int, bytes | bytearray | memoryview], None]


@dataclass
class _Waiting:
    pool: Pool
    digest: bytes
    data: bytes | memoryview
    mask: int
    nbytes: int
    row: int


@dataclass
class ChunkWriter:
    """Collects chunks and writes a batch of them into one stretch of the file.

    A chunk has its row in its pool at once, its address when its batch is written.

    Parameters
    ----------
    allocate
        Takes a number of bytes, returns the file address of that much new space.
    write
        Writes bytes at an address.
    """

    allocate: Allocate
    write: Write
    written_nbytes: int = 0
    _waiting: list[_Waiting] = field(default_factory=list)
    _waiting_nbytes: int = 0

    def add(
        self, pool: Pool, digest: bytes, data: bytes | memoryview, mask: int, nbytes: int
    ) -> int:
        """Store a chunk, unless the pool has it; return its row.

        Parameters
        ----------
        pool
            The pool of the chunk's encoding.
        digest
            BLAKE3-256 of the chunk as its source stored it.
        data
            The chunk as it is to be stored.
        mask
            The filter mask that `data` was encoded with.
        nbytes
            The chunk's length as its source stored it.
        """
        known = pool.staged_row(digest)
        if known is not None:
            return known
        row = pool.add(digest, len(data), mask, nbytes)
        self._waiting.append(_Waiting(pool, digest, data, mask, nbytes, row))
        self._waiting_nbytes += len(data)
        if self._waiting_nbytes >= BATCH_NBYTES:
            self.flush()
        return row

    def flush(self) -> None:
        """Write what is waiting."""
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        nbytes, self._waiting_nbytes = self._waiting_nbytes, 0
        address = self.allocate(nbytes)
        self.write(address, b"".join(chunk.data for chunk in batch))
        self.written_nbytes += nbytes
        for chunk in batch:
            chunk.pool.place(chunk.row, address)
            address += len(chunk.data)
