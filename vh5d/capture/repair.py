"""Repairs a store with what else is in it, and with what its source still has."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from vh5d.capture.hashing import hash_pieces
from vh5d.capture.options import CaptureOptions
from vh5d.capture.scan import scan
from vh5d.capture.watchful import WatchfulSource
from vh5d.errors import SourceError, StoreDamagedError
from vh5d.hdf5.disk import Disk
from vh5d.store import layout
from vh5d.store.mending import DAMAGE, Mending, Piece
from vh5d.store.pools import hash_chunk
from vh5d.store.ranges_lost import Lost, lost_ranges
from vh5d.store.reindexing import NewIndex, new_indexes, stage_index
from vh5d.store.staged_reader import StagedReader
from vh5d.store.staging import StagingArea
from vh5d.store.transaction import Transaction, begin
from vh5d.store.verify import Problem, problems_of


@dataclass(frozen=True)
class RepairResult:
    """What a repair did, or would do.

    Attributes
    ----------
    repaired
        What was made right again, and how that is known, one line each.
    before, left
        What `verify` finds without and with the repair.
    lost
        Which values of which datasets are damaged still.
    dry_run
        Whether nothing was done.
    """

    store: Path
    repaired: tuple[str, ...]
    before: tuple[Problem, ...]
    left: tuple[Problem, ...]
    lost: tuple[Lost, ...]
    dry_run: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all is well, or would be."""
        return not self.left


def repair(
    store: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    timeout: float = 30.0,
    disk: Disk | None = None,
) -> RepairResult:
    """Make right again what can be of a damaged store, in one commit.

    Chunks come back from the source, as far as it still has their bytes, or from another copy in
    the store; rows of pools from the chunks that they lead to; indexes and object headers with one
    wrong byte from their checksums. All of that is proved by hashes and digests, what is sound is
    not touched, and what cannot be repaired stays as it is.

    Parameters
    ----------
    store
        The store.
    source
        Where its source is now; by default where its versions say that it was.
    dry_run
        Only say what would be done.
    timeout
        How long to wait for other users of the store, in seconds.
    disk
        What reads and writes the store.

    Raises
    ------
    StoreDamagedError
        HDF5 cannot open the store, or a repair would do harm. It is as it was.
    StoreError
        The store cannot be used; it is as it was.
    """
    started = time.monotonic()
    path = Path(store)
    with begin(path, create=False, timeout=timeout, disk=disk) as transaction:
        before, mending, indexes = _survey(transaction, None if source is None else Path(source))
        _stage(transaction, mending, indexes)
        with contextlib.closing(StagedReader(transaction.atomic)) as reader:
            left = problems_of(reader) if mending.done else before
            lost = tuple(lost_ranges(reader, left))
        worse = [each for each in left if each not in before and _grown(each, before)]
        if worse:
            raise StoreDamagedError(
                f"{path}: cannot be repaired: {worse[0].message}", hint="nothing was changed"
            )
        if mending.done and not dry_run:
            transaction.atomic.commit()
    return RepairResult(
        store=path,
        repaired=tuple(mending.done),
        before=before,
        left=left,
        lost=lost,
        dry_run=dry_run,
        seconds=time.monotonic() - started,
    )


def _grown(problem: Problem, before: tuple[Problem, ...]) -> bool:
    """Whether a problem is of an object or a version that had none before."""
    known = {name for each in before for name in each.versions}
    return not set(problem.versions) <= known


def _survey(
    transaction: Transaction, source: Path | None
) -> tuple[tuple[Problem, ...], Mending, list[NewIndex]]:
    """Find what is damaged, and what can be done about it."""
    transaction.file.close()
    indexes: list[NewIndex] = []
    with contextlib.closing(StagedReader(transaction.atomic)) as reader:
        before = problems_of(reader)
        try:
            versions = reader.versions
        except DAMAGE:
            versions = []
        mending = Mending(reader.file, reader.pools, versions, reader.read)
        if before:
            mending.look()
            mending.mend_indexes()
            mending.mend_rows()
            paths = [each.source_path for each in reversed(versions) if each.source_path]
            chosen = [source] if source is not None else list(dict.fromkeys(paths))
            with contextlib.ExitStack() as opened:
                sources = [_Source(each) for each in chosen]
                for each in sources:
                    opened.callback(each.close)
                mending.mend_chunks(lambda digest, pieces: _find(sources, digest, pieces))
                indexes = list(new_indexes(mending, lambda piece: _hash_of(sources, piece)))
            mending.done += [
                f"the index at {each.header}, by a version's digest" for each in indexes
            ]
            mending.mend_hashes()
    return before, mending, indexes


def _stage(transaction: Transaction, mending: Mending, indexes: list[NewIndex]) -> None:
    """Write what is to be repaired, for the commit."""
    atomic, patches = transaction.atomic, dict(mending.patches)
    with h5py.File(atomic, "r+", libver=layout.LIBVER) as file:
        base = file.userblock_size
        area = StagingArea(file, atomic)
        for new in indexes:
            patches |= stage_index(area, new)
        for each, row in mending.rows.items():
            file[f"{layout.POOLS}/{each.pool}/chunk_table"][each.row] = np.array(row, np.uint64)
        for each, digest in mending.hashes.items():
            table = file[f"{layout.POOLS}/{each.pool}/hash_table"]
            table[each.row] = np.frombuffer(digest, np.uint8)
    for address, block in patches.items():
        atomic.seek(address + base)
        atomic.write(block)


class _Source:
    """A source, to find bytes in by their hashes; one that cannot be read has none."""

    def __init__(self, path: Path) -> None:
        self._places: dict[bytes, Piece] | None = None
        self._opened: WatchfulSource | None = None
        with contextlib.suppress(SourceError):
            self._opened = WatchfulSource(path, busy="try")

    def close(self) -> None:
        if self._opened is not None:
            self._opened.file.close()

    def at(self, digest: bytes, piece: Piece) -> bytes | None:
        """Return the bytes of a piece, if they have this hash."""
        if self._opened is None or piece.offset + piece.nbytes > self._opened.size:
            return None
        try:
            data = self._opened.file.pread(piece.offset, piece.nbytes)
        except SourceError:
            return None
        whole = data.ljust(piece.padded, b"\0")
        return whole if hash_chunk(whole) == digest else None

    def hash_of(self, piece: Piece) -> bytes | None:
        """Return the hash of what lies where a piece was."""
        if self._opened is None or piece.offset + piece.nbytes > self._opened.size:
            return None
        try:
            data = self._opened.file.pread(piece.offset, piece.nbytes)
        except SourceError:
            return None
        return hash_chunk(data, piece.padded)

    def anywhere(self, digest: bytes) -> bytes | None:
        """Return bytes of this hash, from wherever a capture would find them."""
        if self._places is None:
            self._places = dict(self._scan())
        piece = self._places.get(digest)
        return None if piece is None else self.at(digest, piece)

    def _scan(self) -> Iterator[tuple[bytes, Piece]]:
        if self._opened is None:
            return
        with (
            contextlib.suppress(SourceError),
            scan(self._opened, CaptureOptions(busy="try"), lambda: None) as found,
        ):
            pieces = found.tiling.pieces
            hashes = hash_pieces(self._opened.file.pread_into, pieces)
            for i in range(len(pieces)):
                place = (int(each[i]) for each in (pieces.offsets, pieces.nbytes, pieces.padded))
                yield hashes[i].tobytes(), Piece("", *place)


def _hash_of(sources: list[_Source], piece: Piece) -> bytes | None:
    return next(filter(None, (source.hash_of(piece) for source in sources)), None)


def _find(sources: list[_Source], digest: bytes, pieces: list[Piece]) -> bytes | None:
    for source in sources:
        for piece in pieces:
            data = source.at(digest, piece)
            if data is not None:
                return data
    return next(filter(None, (source.anywhere(digest) for source in sources)), None)
