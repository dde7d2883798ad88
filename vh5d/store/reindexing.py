"""Damaged chunk indexes of captured versions, made anew.

The version's image has the file's metadata, which says which chunks its datasets have and where
they were in the file; but not which row of a pool each chunk is. What is left of the index tells
it, or another version that has the same chunk there, or the source, or that nobody else has a row.
Whatever is guessed counts only if the version's digest comes out right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.address import open_by_path
from vh5d.hdf5.block_image import STAGED
from vh5d.hdf5.chunk_index import build
from vh5d.hdf5.chunk_records import ChunkRecords, grid_keys
from vh5d.hdf5.extents import Extents, stored_extents
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.index_nodes import HEADER_NBYTES
from vh5d.hdf5.index_salvage import salvage
from vh5d.hdf5.mending import Patches
from vh5d.hdf5.object_header import chunk_index_of
from vh5d.hdf5.walk import LinkKind, list_links
from vh5d.store import layout
from vh5d.store.blueprint import Blueprint, blueprint
from vh5d.store.captured_file import CapturedFile
from vh5d.store.datasets import pool_records
from vh5d.store.guessing import Chunk, Row, guesses
from vh5d.store.images import PAGE_POOL, PAGE_ROW, Image, ObjectEntry, read_image
from vh5d.store.mending import DAMAGE, Mending, Piece
from vh5d.store.pieces import digest
from vh5d.store.pools import ADDRESS, HASH_NBYTES, NBYTES, Hashes
from vh5d.store.staging import StagingArea
from vh5d.store.versions import VersionInfo

FEW_GUESSES, MOST_GUESSES = 1_000, 100_000
"""For one version: at first, and when those are done that are known soon."""
MOST_NBYTES = 4 << 30
"""Bytes to be hashed for one version, at the most."""
MOST_NEIGHBOURS = 50
HashOf = Callable[[Piece], bytes | None]


@dataclass(frozen=True)
class NewIndex:
    """A chunk index to be written, in place of a damaged one.

    Attributes
    ----------
    header
        Address of the damaged index, whose first block is to lead to the new nodes.
    fmt, records
        What it is to be.
    """

    header: int
    fmt: IndexFormat
    records: ChunkRecords


@dataclass(frozen=True)
class _Lost:
    """A dataset of a version whose index cannot be read."""

    entry: ObjectEntry
    written: int
    header: int
    fmt: IndexFormat
    left: ChunkRecords


def new_indexes(mending: Mending, hash_of: HashOf) -> Iterator[NewIndex]:
    """Yield the indexes that can be made anew, each proved by the digest of its version's file.

    Parameters
    ----------
    mending
        The store, looked through.
    hash_of
        Returns the hash of the bytes that a source has at a place, or None.
    """
    yield from _Reindexing(mending, hash_of).run()


def stage_index(area: StagingArea, new: NewIndex) -> Patches:
    """Stage the nodes of a new index; return what is to be written over the damaged one."""
    staged = build(new.records, new.fmt, area.image)
    base = area.place_image()
    return {new.header: area.read(base + staged - STAGED, HEADER_NBYTES)}


class _Reindexing:
    def __init__(self, mending: Mending, hash_of: HashOf) -> None:
        self._mending = mending
        self._hash_of = hash_of
        self._read, self._file, self._pools = mending.read, mending.file, mending.pools
        self._most = FEW_GUESSES
        self._made: dict[int, ChunkRecords] = {}
        self._left: dict[int, ChunkRecords] = {}

    def run(self) -> Iterator[NewIndex]:
        for self._most in (FEW_GUESSES, MOST_GUESSES):
            for version in self._mending.versions:
                try:
                    found = self._of_version(version)
                except DAMAGE:
                    continue  # the check that follows tells of it
                for each in found:
                    if each.header not in self._made:
                        self._made[each.header] = each.records
                        yield each

    def _of_version(self, version: VersionInfo) -> list[NewIndex]:
        image = read_image(self._file, version.name)
        known, lost = self._indexes(version, image) if image is not None else ({}, [])
        if image is None or not lost:
            return []
        gone = {each.entry.path for each in lost}
        plan = blueprint(
            self._read,
            self._file,
            self._pools,
            version.name,
            records=lambda entry: _unknown(entry) if entry.path in gone else known[entry.path],
        )
        return self._solve(version, plan, lost)

    def _indexes(
        self, version: VersionInfo, image: Image
    ) -> tuple[dict[bytes, ChunkRecords], list[_Lost]]:
        """Read the indexes of a version without HDF5, which a damaged one may crash."""
        known: dict[bytes, ChunkRecords] = {}
        lost: list[_Lost] = []
        for entry in image.objects:
            if not entry.chunks:
                continue
            address = self._header_of(version, entry.path)
            header, fmt = chunk_index_of(self._read, address)
            left = self._salvage(header, fmt)
            if len(left) == entry.chunks:
                known[entry.path] = left
            else:
                lost.append(_Lost(entry, address, header, fmt, left))
        return known, lost

    def _salvage(self, header: int, fmt: IndexFormat) -> ChunkRecords:
        """Return what there is of an index, or will be."""
        if header in self._made:
            return self._made[header]
        if header not in self._left:
            self._left[header] = salvage(self._read, header, fmt)
        return self._left[header]

    def _header_of(self, version: VersionInfo, path: bytes) -> int:
        parent, _, name = path.rpartition(b"/")
        group = open_by_path(self._file[f"{layout.VERSIONS}/{version.name}"].id, parent)
        for each in list_links(group):
            if each.kind is LinkKind.HARD and each.name == name:
                return each.address
        raise StoreDamagedError(f"there is no {path!r}")

    # One version

    def _solve(self, version: VersionInfo, plan: Blueprint, lost: list[_Lost]) -> list[NewIndex]:
        extents = self._extents(plan, [each.entry for each in lost])
        first = _first_chunks(plan.image)
        chunks: list[Chunk] = []
        for each, found in zip(lost, extents, strict=True):
            pieces = plan.chunks[first[each.entry.path] :][: each.entry.chunks]
            chunks += self._candidates(version, plan, each, found, pieces)
        rows = self._prove(plan, chunks)
        if rows is None:
            return []
        made, start = [], 0
        for each, found in zip(lost, extents, strict=True):
            own = np.array(rows[start : start + each.entry.chunks], np.int64)
            start += each.entry.chunks
            pool = self._pools[str(each.entry.encoding)]
            records = pool_records(pool, own, found.scaled, found.masks)
            made.append(NewIndex(each.header, each.fmt, records))
        return made

    def _extents(self, plan: Blueprint, entries: Sequence[ObjectEntry]) -> list[Extents]:
        """Return which chunks the file had, by its own metadata, which is in the image's pages."""
        for number, name in enumerate(plan.image.pools):
            if np.isin(_pages_of(plan.image, number), self._mending.checked[name].bad).any():
                raise StoreDamagedError("the file's metadata is damaged")
        found = []
        with h5py.File(CapturedFile(self._read, plan), "r") as file:
            for entry in entries:
                extents = stored_extents(file.id, entry.path)
                if len(extents) != entry.chunks:
                    raise StoreDamagedError("the file's metadata has other chunks")
                found.append(extents)
        return found

    def _candidates(
        self,
        version: VersionInfo,
        plan: Blueprint,
        lost: _Lost,
        extents: Extents,
        pieces: NDArray[np.intp],
    ) -> list[Chunk]:
        name, padded = str(lost.entry.encoding), plan.pieces.padded
        chunks = [Chunk(name, int(padded[i]), int(i), lost.written) for i in pieces]
        keys = grid_keys(extents.scaled)
        self._offer(chunks, keys, lost.left)
        rest = [i for i, each in enumerate(chunks) if not each.rows]
        others = [chunks[i] for i in rest]
        for records in self._of_neighbours(version, lost.entry):
            self._offer(others, keys[rest], records)
        for each in others:
            at, nbytes = plan.pieces.offsets[each.piece], plan.pieces.nbytes[each.piece]
            hashed = self._hash_of(Piece(version.name, int(at), int(nbytes), each.nbytes))
            if hashed is not None:
                row = self._row_of(name, hashed)
                self._add(each, row)
                each.now = row if row in each.rows else None
            # What was written last before the version is likely to be what it has.
            table = self._pools[name].table
            each.rows.sort(key=lambda row: -int(table[row, ADDRESS]))
        return chunks

    def _offer(
        self, chunks: Sequence[Chunk], keys: NDArray[np.bytes_], records: ChunkRecords
    ) -> None:
        """Let chunks be what records of the same places say."""
        if not len(records) or not len(chunks):
            return
        rows = self._pools[chunks[0].pool].rows_at(records.addresses)
        places = dict(zip(grid_keys(records.scaled).tolist(), rows.tolist(), strict=True))
        for chunk, key in zip(chunks, keys.tolist(), strict=True):
            self._add(chunk, places.get(key, -1))

    def _add(self, chunk: Chunk, row: int) -> None:
        if row < 0 or row in chunk.rows or row in chunk.later:
            return
        found = self._pools[chunk.pool].table[row]
        if int(found[NBYTES]) == chunk.nbytes:
            before = int(found[ADDRESS]) < chunk.written
            (chunk.rows if before else chunk.later).append(row)

    def _row_of(self, pool: str, hashed: bytes) -> int:
        key = np.frombuffer(hashed, np.uint8).reshape(1, -1)
        return int(self._pools[pool].find(key).rows[0])

    def _of_neighbours(self, version: VersionInfo, entry: ObjectEntry) -> Iterator[ChunkRecords]:
        """Yield what can be read of the dataset's index in other versions, the nearest first."""
        near = sorted(
            (each for each in self._mending.versions if each.name != version.name),
            key=lambda each: (abs(each.sequence - version.sequence), each.sequence),
        )
        for each in near[:MOST_NEIGHBOURS]:
            try:
                root, fmt = chunk_index_of(self._read, self._header_of(each, entry.path))
            except DAMAGE:
                continue
            yield self._salvage(root, fmt)

    # Guesses

    def _prove(self, plan: Blueprint, chunks: list[Chunk]) -> list[int] | None:
        """Return the rows of the chunks with which the file has its digest; None if none do."""
        hashes = self._hashes(plan, {each.piece for each in chunks})
        pieces = np.array([each.piece for each in chunks], np.intp)
        facts = plan.image.facts
        most = min(self._most, MOST_NBYTES // (48 * len(hashes)))
        for unclaimed in self._settings(chunks):
            likeliest = [each.rows[0] if each.rows else -1 for each in chunks]
            base = np.stack([self._hash(*each) for each in zip(chunks, likeliest, strict=True)])
            for guess in itertools.islice(guesses(chunks, unclaimed, self._size), most):
                hashes[pieces] = base
                for i, row in guess.items():
                    hashes[pieces[i]] = self._hash(chunks[i], row)
                if digest(facts.size, plan.pieces, hashes) == facts.digest:
                    return [guess.get(i, row) for i, row in enumerate(likeliest)]
        return None

    def _settings(self, chunks: list[Chunk]) -> Iterator[list[Row]]:
        """Yield the rows that nobody has: what was written by then, and all of them.

        The chunks' rows are then the same.
        """
        latest = max(each.written for each in chunks)
        unclaimed = self._unclaimed()
        yield [each for each in unclaimed if self._written(*each) < latest]
        for each in chunks:
            each.rows += each.later
            each.later = []
        yield unclaimed

    def _hash(self, chunk: Chunk, row: int) -> Hashes:
        found: Hashes = self._pools[chunk.pool].hashes[row]
        return found

    def _written(self, pool: str, row: int) -> int:
        return int(self._pools[pool].table[row, ADDRESS])

    def _size(self, pool: str, row: int) -> int:
        return int(self._pools[pool].table[row, NBYTES])

    def _hashes(self, plan: Blueprint, unknown: set[int]) -> Hashes:
        hashes = np.zeros((len(plan.pieces), HASH_NBYTES), np.uint8)
        for kind, encoding in enumerate(plan.pieces.encodings):
            which = np.flatnonzero(plan.pieces.pools == kind)
            which = which[~np.isin(which, list(unknown))]
            pool = self._pools[encoding.name]
            rows = pool.rows_at(plan.addresses[which])
            if (rows < 0).any():
                raise StoreDamagedError("other chunks of the file are not known")
            hashes[which] = pool.hashes[rows]
        return hashes

    def _unclaimed(self) -> list[Row]:
        """Chunks, by pool and row, that nothing sound leads to."""
        claimed: dict[str, set[int]] = {name: set() for name in self._pools}
        for address in self._mending.our_datasets:
            try:
                records = self._salvage(*chunk_index_of(self._read, address))
            except DAMAGE:
                continue
            for name, rows in claimed.items():
                rows |= set(self._pools[name].rows_at(records.addresses).tolist())
        for version in self._mending.versions:
            image = read_image(self._file, version.name)
            for number, name in enumerate(() if image is None else image.pools):
                assert image is not None
                claimed[name] |= set(
                    image.pages[image.pages[:, PAGE_POOL] == number, PAGE_ROW].tolist()
                )
        found = []
        for name, rows in claimed.items():
            pool = self._pools[name]
            bad = set(self._mending.checked[name].bad.tolist())
            alive = np.flatnonzero(pool.alive).tolist()
            found += [(name, row) for row in alive if row not in rows and row not in bad]
        return found


def _unknown(entry: ObjectEntry) -> ChunkRecords:
    """Return records that lead nowhere, as many as the dataset has."""
    nowhere = np.zeros(entry.chunks, np.uint64)
    return ChunkRecords(nowhere.reshape(-1, 1), nowhere, nowhere, nowhere.astype(np.uint32))


def _pages_of(image: Image, pool: int) -> NDArray[np.int64]:
    """Return which rows of a pool are pages of the file."""
    rows: NDArray[np.int64] = image.pages[image.pages[:, PAGE_POOL] == pool, PAGE_ROW].astype(
        np.int64
    )
    return rows


def _first_chunks(image: Image) -> dict[bytes, int]:
    """Return where the chunks of each dataset begin among those of the image."""
    found, start = {}, 0
    for entry in image.objects:
        found[entry.path] = start
        start += entry.chunks
    return found
