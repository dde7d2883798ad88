"""Reads a source piece by piece, hashes it, and stores what the pools do not have."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vh5d.errors import SourceChangedError
from vh5d.store.chunk_writer import ChunkWriter
from vh5d.store.encoding import Encoding
from vh5d.store.pieces import Pieces
from vh5d.store.pools import HASH_NBYTES, Hashes, Pool, Pools, hash_chunk

#: How often a piece that somebody may be writing is read at most, and the pause in seconds.
READINGS = 50
READING_PAUSE = 0.001

ReadInto = Callable[[int, memoryview], None]
Progress = Callable[[int, int], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Kept:
    """What became of the pieces.

    Attributes
    ----------
    hashes
        (m, 32) uint8.
    rows
        (m,) int64, each piece's row in the pool of its encoding.
    """

    hashes: Hashes
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class _New:
    piece: int
    data: bytes | memoryview
    mask: int


@dataclass(frozen=True)
class _Batch:
    pieces: slice
    hashes: Hashes
    rows: NDArray[np.int64]
    new: list[_New]


def keep(
    read_into: ReadInto,
    pieces: Pieces,
    pools: Pools,
    writer: ChunkWriter,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    twice: bool = False,
) -> Kept:
    """Hash all pieces and store the new ones.

    Parameters
    ----------
    read_into
        Fills a buffer from an offset of the source; safe to call from several threads.
    pieces
        What to read.
    pools
        Where the pieces may already be.
    writer
        Takes those that are nowhere.
    threads
        How many threads hash and compress; by default one a core.
    progress
        Called with bytes done and bytes in all.
    twice
        Read what is new until two readings are the same: somebody may be writing it.
    """
    chosen = [pools[each.name] for each in pieces.encodings]
    hashes = np.empty((len(pieces), HASH_NBYTES), np.uint8)
    rows = np.empty(len(pieces), np.int64)
    total, done = int(pieces.nbytes.sum()), 0

    def work(batch: slice) -> _Batch:
        return _examine(read_into, pieces, batch, chosen, twice=twice)

    for batch in ahead(work, pieces.batches(), threads or cores()):
        hashes[batch.pieces] = batch.hashes
        rows[batch.pieces] = batch.rows
        for new in batch.new:
            pool = chosen[pieces.pools[new.piece]]
            digest, nbytes = hashes[new.piece].tobytes(), int(pieces.padded[new.piece])
            rows[new.piece] = writer.add(pool, digest, new.data, new.mask, nbytes)
        done += int(pieces.nbytes[batch.pieces].sum())
        if progress is not None:
            progress(done, total)
    writer.flush()
    return Kept(hashes, rows)


def hash_pieces(read_into: ReadInto, pieces: Pieces, *, threads: int | None = None) -> Hashes:
    """Return the (m, 32) hashes of all pieces."""
    hashes = np.empty((len(pieces), HASH_NBYTES), np.uint8)

    def work(batch: slice) -> tuple[slice, Hashes]:
        return batch, _hash(_read(read_into, pieces, batch), pieces, batch)

    for batch, found in ahead(work, pieces.batches(), threads or cores()):
        hashes[batch] = found
    return hashes


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _examine(
    read_into: ReadInto, pieces: Pieces, batch: slice, pools: Sequence[Pool], *, twice: bool
) -> _Batch:
    data = _read(read_into, pieces, batch)
    hashes = _hash(data, pieces, batch)
    kinds = pieces.pools[batch]
    rows = _find(hashes, kinds, pools)
    if twice and _settle(read_into, pieces, batch, data, np.flatnonzero(rows < 0)):
        hashes = _hash(data, pieces, batch)
        rows = _find(hashes, kinds, pools)
    new = []
    for i in np.flatnonzero(rows < 0):
        piece = batch.start + int(i)
        stored, mask = _encode(data[i], int(pieces.padded[piece]), pools[kinds[i]].encoding)
        new.append(_New(piece, stored, mask))
    return _Batch(batch, hashes, rows, new)


def _find(hashes: Hashes, kinds: NDArray[np.int64], pools: Sequence[Pool]) -> NDArray[np.int64]:
    rows = np.full(len(hashes), -1, np.int64)
    for kind in np.unique(kinds):
        of_kind = np.flatnonzero(kinds == kind)
        rows[of_kind] = pools[kind].find(hashes[of_kind]).rows
    return rows


def _settle(
    read_into: ReadInto,
    pieces: Pieces,
    batch: slice,
    data: list[memoryview],
    which: NDArray[np.intp],
) -> bool:
    """Read some of the pieces again until each is as it was a moment ago; whether any was not."""
    restless = False
    for i in which.tolist():
        offset = int(pieces.offsets[batch.start + i])
        for _ in range(READINGS):
            again = np.empty(len(data[i]), np.uint8)
            read_into(offset, again.data)
            if np.array_equal(again, np.frombuffer(data[i], np.uint8)):
                break
            # The next two readings at once: a pause between them would be one to write in.
            time.sleep(READING_PAUSE)
            data[i], restless = np.empty(len(again), np.uint8).data, True
            read_into(offset, data[i])
        else:
            raise SourceChangedError(
                "a chunk is rewritten faster than it can be read", hint="try again later"
            )
    return restless


def _encode(data: memoryview, padded_to: int, encoding: Encoding) -> tuple[bytes | memoryview, int]:
    if padded_to > len(data):
        return encoding.encode(bytes(data).ljust(padded_to, b"\0"))
    return encoding.encode(data)


def _read(read_into: ReadInto, pieces: Pieces, batch: slice) -> list[memoryview]:
    offsets = pieces.offsets[batch].tolist()
    ends = (pieces.offsets[batch] + pieces.nbytes[batch]).tolist()
    start, stop = offsets[0], max(ends)
    buffer = np.empty(stop - start, np.uint8).data
    read_into(start, buffer)
    return [buffer[a - start : z - start] for a, z in zip(offsets, ends, strict=True)]


def _hash(data: Sequence[memoryview], pieces: Pieces, batch: slice) -> Hashes:
    padded = pieces.padded[batch].tolist()
    digests = b"".join(map(hash_chunk, data, padded))
    return np.frombuffer(digests, np.uint8).reshape(-1, HASH_NBYTES)


def ahead(
    work: Callable[[slice], Result], batches: Iterator[slice], threads: int
) -> Iterator[Result]:
    """Yield the results of `work` in order, a few batches ahead of what is consumed."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="vh5d-hash") as executor:
        try:
            for batch in batches:
                waiting.append(executor.submit(work, batch))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
