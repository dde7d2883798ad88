"""What of a damaged store can be made right again from what else is in it.

Nothing is believed because it looks right: a chunk, and the row that says where it lies, count by
the chunk's hash; a hash by the digest of a version's file; an index by its checksum, by leading to
good chunks only, and by the digest of its version's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError, UsageError
from vh5d.hdf5.chunk_index import read_records
from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.hdf5.mending import Patches, mend_dataset
from vh5d.hdf5.object_header import chunk_index_of
from vh5d.hdf5.ranges import holds, of_extents, subtract
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.walk import LinkKind, is_group, list_links, open_link
from vh5d.store import layout
from vh5d.store.blueprint import Blueprint, blueprint
from vh5d.store.pieces import digest
from vh5d.store.pools import ADDRESS, HASH_NBYTES, NBYTES, STORED, Pools, hash_chunk
from vh5d.store.spaces import spaces_of
from vh5d.store.verify_pools import CheckedPool, check_pool
from vh5d.store.versions import VersionInfo

MOST_GUESSES = 20_000
MOST_NBYTES = 1 << 32
DAMAGE = (StoreDamagedError, UsageError, IndexError, AttributeError, *H5PY_ERRORS)


@dataclass(frozen=True)
class Piece:
    """Where in a source a chunk was: `nbytes` at `offset`, then zeros up to `padded`."""

    version: str
    offset: int
    nbytes: int
    padded: int


@dataclass(frozen=True)
class BadRow:
    """A row of a pool that does not lead to a chunk of its hash."""

    pool: str
    row: int


@dataclass
class Mending:
    """Finds what is damaged, and what can be done about it; changes nothing.

    Parameters
    ----------
    file, pools, versions
        The store.
    read_store
        Reads its bytes at an address.

    Attributes
    ----------
    patches
        Bytes to be written, by address.
    rows
        New rows of chunk tables.
    hashes
        New hashes.
    done
        What these do, one line each.
    """

    file: h5py.File
    pools: Pools
    versions: list[VersionInfo]
    read_store: Callable[[int, int], bytes]
    patches: Patches = field(default_factory=dict)
    rows: dict[BadRow, tuple[int, int, int, int]] = field(default_factory=dict)
    hashes: dict[BadRow, bytes] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    def read(self, address: int, nbytes: int) -> bytes:
        """Read the store as it would be."""
        data = bytearray(self.read_store(address, nbytes))
        for start, block in self.patches.items():
            a, z = max(start, address), min(start + len(block), address + len(data))
            if a < z:
                data[a - address : z - address] = block[a - start : z - start]
        return bytes(data)

    def look(self) -> None:
        """Find the rows that are damaged."""
        self.checked = {
            name: check_pool(self.read, self.pools[name], threads=None, advance=lambda _: None)
            for name in self.pools
            if len(self.pools[name].hashes) == len(self.pools[name].table)
        }
        self.bad = [
            BadRow(name, row) for name, each in self.checked.items() for row in each.bad.tolist()
        ]

    # Indexes

    def mend_indexes(self) -> None:
        """Mend headers and indexes of datasets in `/spaces` that have one wrong byte a block."""
        for address in self.our_datasets:
            try:
                read_records(self.read, *chunk_index_of(self.read, address))
                continue
            except DAMAGE:
                pass
            try:
                patches = mend_dataset(self.read, address)
                self._prove(patches, address)
            except DAMAGE:
                continue  # it stays what it is, and the check that follows tells of it
            for at, block in patches.items():
                if at not in self.patches:
                    self.patches[at] = block
                    self.done.append(f"the block at {at}, of an index, by its checksum")

    def _prove(self, patches: Patches, address: int) -> None:
        """Refuse an index that leads to anything but chunks of pools."""
        trial = Mending(self.file, self.pools, [], self.read_store, {**self.patches, **patches})
        records = read_records(trial.read, *chunk_index_of(trial.read, address))
        known = np.zeros(len(records), bool)
        for name in self.pools:
            table = self.pools[name].table
            pairs = {(int(row[ADDRESS]), int(row[STORED])) for row in table}
            known |= np.array([pair in pairs for pair in _pairs(records)], bool)
        if not known.all():
            raise StoreDamagedError("it leads to what is no chunk")

    @cached_property
    def our_datasets(self) -> list[int]:
        """Addresses of the object headers in `/spaces` that versions and images lead to."""
        ranges = spaces_of(self.file).ranges
        found: dict[int, None] = {}
        seen: set[int] = set()
        pending = [self.file[layout.VERSIONS].id, self.file[layout.IMAGES].id]
        while pending:
            group = pending.pop()
            try:
                links = list_links(group)
            except H5PY_ERRORS:
                continue
            for link in links:
                if link.kind is not LinkKind.HARD or link.address in seen:
                    continue
                seen.add(link.address)
                if holds(ranges, np.array([link.address], np.int64))[0]:
                    found[link.address] = None
                    continue
                try:
                    opened = open_link(group, link)
                except H5PY_ERRORS:
                    continue
                if is_group(opened):
                    pending.append(opened)
        return list(found)

    # Rows

    def mend_rows(self) -> None:
        """Find the chunks of damaged rows where no other chunk is known to lie."""
        records = list(self._orphans())
        gaps = self._gaps()
        for each in list(self.bad):
            for row in self._guesses(each, records, gaps):
                if self._holds(each, row):
                    self.rows[each] = row
                    self.bad.remove(each)
                    self.done.append(f"row {each.row} of pool {each.pool!r}, by the chunk's hash")
                    break

    def _holds(self, each: BadRow, row: tuple[int, int, int, int]) -> bool:
        address, stored, mask, nbytes = row
        if address >= 1 << 62 or max(stored, nbytes) > MOST_NBYTES:
            return False
        pool = self.pools[each.pool]
        try:
            data = pool.encoding.decode(self.read(address, stored), mask, nbytes)
        except (StoreDamagedError, OSError, ValueError, MemoryError):
            return False
        return bool(hash_chunk(data) == pool.hashes[each.row].tobytes())

    def _orphans(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield chunks that sound indexes lead to and no good row has."""
        good: set[int] = set()
        for checked in self.checked.values():
            table = np.delete(checked.pool.table, checked.bad, axis=0)
            good |= set(table[:, ADDRESS].tolist())
        for address in self.our_datasets:
            try:
                root, fmt = chunk_index_of(self.read, address)
                records = read_records(self.read, root, fmt)
            except DAMAGE:
                continue
            for (at, size), mask in zip(_pairs(records), records.masks.tolist(), strict=True):
                if at not in good:
                    yield at, size, mask, fmt.chunk_nbytes

    def _gaps(self) -> list[tuple[int, int]]:
        taken = [
            of_extents(table[:, ADDRESS], table[:, STORED])
            for checked in self.checked.values()
            for table in [self._good_table(checked)]
        ]
        if not taken:
            return []
        gaps = subtract(spaces_of(self.file).ranges, np.concatenate(taken))
        return [(int(start), int(stop - start)) for start, stop in gaps.tolist()]

    def _good_table(self, checked: CheckedPool) -> NDArray[np.uint64]:
        good = checked.pool.alive.copy()
        good[checked.bad] = False
        table: NDArray[np.uint64] = checked.pool.table[good]
        return table

    def _guesses(
        self,
        each: BadRow,
        records: list[tuple[int, int, int, int]],
        gaps: list[tuple[int, int]],
    ) -> Iterator[tuple[int, int, int, int]]:
        pool = self.pools[each.pool]
        address, stored, mask, nbytes = map(int, pool.table[each.row])
        sizes = [nbytes, *map(int, np.unique(pool.table[:, NBYTES])[:50])]
        masks = dict.fromkeys((mask, 0, pool.encoding.skip_mask))
        count = 0
        for at, size, of_record, whole in records:
            for length in dict.fromkeys((nbytes, size, whole)):
                yield at, size, of_record if pool.encoding.codec else mask, length
                yield at, size, 0, length
        for at, space in [(address, stored), *gaps]:
            for size in dict.fromkeys((stored, space)):
                for chosen in masks:
                    for length in dict.fromkeys((size, *sizes)):
                        yield at, size, chosen, length
                        count += 1
                        if count > MOST_GUESSES:
                            return

    # Chunks

    def mend_chunks(self, find: Callable[[bytes, list[Piece]], bytes | None]) -> None:
        """Write damaged chunks anew where they lie.

        Parameters
        ----------
        find
            Returns the bytes of a hash from elsewhere, given where in a source they were; or None.
        """
        pieces = self._pieces()
        for each in list(self.bad):
            pool = self.pools[each.pool]
            wanted = pool.hashes[each.row].tobytes()
            address, stored, mask, nbytes = map(int, pool.table[each.row])
            data = self._copy(wanted) or find(wanted, pieces.get(address, []))
            if data is None or len(data) != nbytes:
                continue
            encoded, chosen = pool.encoding.encode(data)
            if len(encoded) != stored or (pool.encoding.codec and chosen != mask):
                continue
            if self._is_elsewhere(address, stored, each):
                continue
            self.patches[address] = bytes(encoded)
            self.bad.remove(each)
            self.done.append(f"the chunk of row {each.row} of pool {each.pool!r}, by its hash")

    def _is_elsewhere(self, address: int, stored: int, each: BadRow) -> bool:
        """Whether a damaged row leads where good chunks or indexes lie, or outside of `/spaces`."""
        if address >= 1 << 62:
            return True
        spaces = self._spaces_of_chunks
        if not any(start <= address and address + stored <= stop for start, stop in spaces):
            return True
        for name, checked in self.checked.items():
            table = self._good_table(checked)
            overlaps = (table[:, ADDRESS] < address + stored) & (
                table[:, ADDRESS] + table[:, STORED] > address
            )
            if overlaps.any():
                return True
            if name == each.pool:
                same = checked.pool.table[:, ADDRESS] == address
                if int(same.sum()) > 1:
                    return True
        return False

    @cached_property
    def _spaces_of_chunks(self) -> list[tuple[int, int]]:
        """Where chunks lie in `/spaces`: what has headers in it has none."""
        headers = np.array(self.our_datasets, np.int64)
        return [
            (int(start), int(stop))
            for start, stop in spaces_of(self.file).ranges
            if not holds(np.array([[start, stop]], np.int64), headers).any()
        ]

    def _copy(self, wanted: bytes) -> bytes | None:
        """Return the bytes of a hash from another pool."""
        key = np.frombuffer(wanted, np.uint8)
        for name, checked in self.checked.items():
            pool = self.pools[name]
            for row in np.flatnonzero((pool.hashes == key).all(axis=1)).tolist():
                if row in checked.bad:
                    continue
                address, stored, mask, nbytes = map(int, pool.table[row])
                data: bytes = pool.encoding.decode(self.read(address, stored), mask, nbytes)
                return data
        return None

    def _pieces(self) -> dict[int, list[Piece]]:
        """Return where in sources the chunks were, by their addresses in the store."""
        damaged = {int(self.pools[each.pool].table[each.row, ADDRESS]) for each in self.bad}
        found: dict[int, list[Piece]] = {}
        for version, plan in self.plans():
            which = np.isin(plan.addresses, np.array(list(damaged), np.uint64))
            for i in np.flatnonzero(which).tolist():
                pieces = plan.pieces
                piece = Piece(
                    version.name,
                    int(pieces.offsets[i]),
                    int(pieces.nbytes[i]),
                    int(pieces.padded[i]),
                )
                found.setdefault(int(plan.addresses[i]), []).append(piece)
        return found

    def plans(self) -> Iterator[tuple[VersionInfo, Blueprint]]:
        """Yield the captured versions whose image and indexes can be read."""
        for version in self.versions:
            try:
                yield version, blueprint(self.read, self.file, self.pools, version.name)
            except DAMAGE:
                continue

    # Hashes

    def mend_hashes(self) -> None:
        """Compute hashes anew, where a version's digest then comes out right."""
        if not self.bad:
            return
        guessed = {each: found for each in self.bad if (found := self._hash_now(each)) is not None}
        for _, plan in self.plans():
            used = self._proved(plan, guessed)
            for each in used:
                if each in self.bad:
                    self.hashes[each] = guessed[each]
                    self.bad.remove(each)
                    self.done.append(
                        f"the hash of row {each.row} of pool {each.pool!r}, by a version's digest"
                    )

    def _hash_now(self, each: BadRow) -> bytes | None:
        pool = self.pools[each.pool]
        address, stored, mask, nbytes = map(int, pool.table[each.row])
        if address >= 1 << 62 or max(stored, nbytes) > MOST_NBYTES:
            return None
        try:
            return hash_chunk(pool.encoding.decode(self.read(address, stored), mask, nbytes))
        except (StoreDamagedError, OSError, ValueError, MemoryError):
            return None

    def _proved(self, plan: Blueprint, guessed: dict[BadRow, bytes]) -> list[BadRow]:
        hashes = np.zeros((len(plan.pieces), HASH_NBYTES), np.uint8)
        used: list[BadRow] = []
        for kind, encoding in enumerate(plan.pieces.encodings):
            which = np.flatnonzero(plan.pieces.pools == kind)
            pool = self.pools[encoding.name]
            rows = pool.rows_at(plan.addresses[which])
            if (rows < 0).any():
                return []
            hashes[which] = pool.hashes[rows]
            for each, found in guessed.items():
                if each.pool == encoding.name and (rows == each.row).any():
                    hashes[which[rows == each.row]] = np.frombuffer(found, np.uint8)
                    used.append(each)
        facts = plan.image.facts
        return used if digest(facts.size, plan.pieces, hashes) == facts.digest else []


def _pairs(records: ChunkRecords) -> list[tuple[int, int]]:
    return list(zip(records.addresses.tolist(), records.sizes.tolist(), strict=True))
