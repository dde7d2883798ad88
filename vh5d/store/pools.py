"""Pools: the chunks of a store, known by the hash of their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import blake3
import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.handles import count_rows, open_table, write_rows
from vh5d.store import encoding, layout
from vh5d.store.encoding import Encoding

HASH_NBYTES = 32
ROWS_A_CHUNK = 256
FEW = 64  # looked up alone, as one row in so many of the table

# Columns of chunk_table.
ADDRESS, STORED, MASK, NBYTES = range(4)
UNPLACED = 2**64 - 1

Hashes = NDArray[np.uint8]
Table = NDArray[np.uint64]


def hash_chunk(data: bytes | memoryview, padded_to: int = 0) -> bytes:
    """Return the BLAKE3-256 digest of a chunk's bytes, zeros appended up to `padded_to`."""
    hasher = blake3.blake3(data)
    if padded_to > len(data):
        hasher.update(bytes(padded_to - len(data)))
    return hasher.digest()


@dataclass(frozen=True)
class Found:
    """Where looked-up hashes are: `rows` (n,) int64, -1 for what the pool does not have."""

    rows: NDArray[np.int64]

    @property
    def missing(self) -> NDArray[np.intp]:
        """Positions of the hashes that were not found."""
        return np.flatnonzero(self.rows < 0)


class Pool:
    """All chunks of one encoding.

    Parameters
    ----------
    name
        The encoding's name.
    hashes
        (n, 32) uint8.
    table
        (n, 4) uint64: file address, bytes as stored, filter mask, bytes as in the source.
    """

    def __init__(self, name: str, hashes: Hashes, table: Table) -> None:
        self.encoding: Encoding = encoding.by_name(name)
        self.hashes = hashes
        self.table = table
        self._new_rows: list[list[int]] = []
        self._new_digests: list[bytes] = []
        self._written = 0  # of the new rows
        self._tables: _Tables | None = None
        self._joined: Table | None = None
        self._staged: dict[bytes, int] = {}

    @classmethod
    def read(cls, group: h5py.Group, name: str) -> Pool:
        """Load a pool; one that does not exist yet is empty."""
        if name not in group:
            return cls(name, np.empty((0, HASH_NBYTES), np.uint8), np.empty((0, 4), np.uint64))
        members = group[name]
        return cls(name, members["hash_table"][()], members["chunk_table"][()])

    def __len__(self) -> int:
        return len(self.table) + len(self._new_rows)

    def find(self, hashes: Hashes) -> Found:
        """Look up (n, 32) hashes among the committed chunks and the staged ones."""
        rows = np.full(len(hashes), -1, np.int64)
        order, keys = self._by_key
        if len(keys):
            at = np.minimum(np.searchsorted(keys, _keys(hashes)), len(keys) - 1)
            candidates = order[at]
            same = (self.hashes[candidates] == hashes).all(axis=1)
            rows[same] = candidates[same]
        if self._staged:
            for i in np.flatnonzero(rows < 0):
                rows[i] = self._staged.get(hashes[i].tobytes(), -1)
        return Found(rows)

    def staged_row(self, digest: bytes) -> int | None:
        """Return the row of a chunk staged since the pool was loaded."""
        return self._staged.get(digest)

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(n,) which committed rows have a chunk; those that pruning dropped do not."""
        return np.asarray(self.table[:, ADDRESS] != UNPLACED)

    def add(self, digest: bytes, stored: int, mask: int, nbytes: int) -> int:
        """Stage a new chunk, whose address comes later (`place`); return its row."""
        row = len(self)
        self._joined = None
        self._new_rows.append([UNPLACED, stored, mask, nbytes])
        self._new_digests.append(digest)
        self._staged[digest] = row
        return row

    def place(self, row: int, address: int) -> None:
        """Say where a staged chunk lies."""
        self._joined = None
        self._new_rows[row - len(self.table)][ADDRESS] = address

    def rows(self, rows: NDArray[np.int64]) -> Table:
        """Return the (n, 4) table rows of committed and staged chunks."""
        if len(rows) * FEW < len(self):
            return self._few_rows(rows)
        return self._whole_table[rows]

    def _few_rows(self, rows: NDArray[np.int64]) -> Table:
        # Joining the tables takes time that grows with them.
        found = np.empty((len(rows), 4), np.uint64)
        old = rows < len(self.table)
        found[old] = self.table[rows[old]]
        new = [self._new_rows[row - len(self.table)] for row in rows[~old].tolist()]
        found[~old] = np.array(new, np.uint64).reshape(-1, 4)
        return found

    def hashes_of(self, rows: NDArray[np.int64]) -> Hashes:
        """Return the (n, 32) hashes of committed and staged chunks."""
        return self._whole_hashes[rows]

    def rows_at(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of the chunks at these addresses, -1 for addresses of none."""
        places = self._whole_table[:, ADDRESS]
        order = np.argsort(places, kind="stable")
        order = order[: np.count_nonzero(places != UNPLACED)]
        if not len(order):
            return np.full(len(addresses), -1, np.int64)
        known = places[order]
        at = np.minimum(np.searchsorted(known, addresses), len(known) - 1)
        rows: NDArray[np.int64] = np.where(known[at] == addresses, order[at], -1)
        return rows

    def write(self, group: h5py.Group) -> None:
        """Append what was staged since the last time to the pool's tables in the file."""
        rows = self._new_rows[self._written :]
        if not rows:
            return
        if self._tables is None:
            self._tables = _Tables(group.require_group(self.encoding.name))
        _append(self._tables, "hash_table", _joined(self._new_digests[self._written :]))
        _append(self._tables, "chunk_table", np.array(rows, np.uint64))
        self._written += len(rows)

    @property
    def rows_written(self) -> int:
        """How many rows its tables in the file have."""
        return len(self.table) + self._written

    @property
    def _whole_table(self) -> Table:
        if not self._new_rows:
            return self.table
        if self._joined is None:
            self._joined = np.concatenate([self.table, np.array(self._new_rows, np.uint64)])
        return self._joined

    @property
    def _whole_hashes(self) -> Hashes:
        if not self._staged:
            return self.hashes
        return np.concatenate([self.hashes, _joined(self._new_digests)])

    @cached_property
    def _by_key(self) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
        rows = np.flatnonzero(self.alive)
        keys = _keys(self.hashes[rows])
        order = np.argsort(keys, kind="stable")
        return rows[order], keys[order]


class Pools:
    """The pools of a store, each loaded when first asked for."""

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self._loaded: dict[str, Pool] = {}

    def __getitem__(self, name: str) -> Pool:
        if name not in self._loaded:
            self._loaded[name] = Pool.read(self._group, name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._group, *self._loaded}))

    def forget(self) -> None:
        """Load them anew when they are next asked for; nothing may be staged."""
        self._loaded.clear()

    def rows_read(self) -> dict[str, int]:
        """Return how many rows the tables had when they were loaded, of each pool that is."""
        return {name: len(pool.table) for name, pool in self._loaded.items()}

    def rows_written(self) -> dict[str, int]:
        """Return how many rows the tables in the file have, of each pool that is loaded."""
        return {name: pool.rows_written for name, pool in self._loaded.items()}

    def write(self) -> None:
        """Append everything that was staged."""
        for name in sorted(self._loaded):
            self._loaded[name].write(self._group)


def open_pools(file: h5py.File) -> Pools:
    """Return the pools of an open store."""
    return Pools(file[layout.POOLS])


def _joined(digests: list[bytes]) -> Hashes:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, HASH_NBYTES)


def _keys(hashes: Hashes) -> NDArray[np.uint64]:
    # The digest's first eight bytes find the row; the whole digest decides.
    return np.ascontiguousarray(hashes[:, :8]).view("<u8").reshape(-1)


class _Tables:
    """The tables of a pool in the file, which stay open from commit to commit."""

    def __init__(self, group: h5py.Group) -> None:
        self.group = group
        self.opened: dict[str, Any] = {}

    def find(self, name: str) -> Any | None:
        """Return the identifier of one, None if there is none yet."""
        if name not in self.opened:
            table = open_table(self.group.id, name.encode())
            if table is None:
                return None
            self.opened[name] = table
        return self.opened[name]


def _append(tables: _Tables, name: str, rows: NDArray[np.uint8] | NDArray[np.uint64]) -> None:
    table = tables.find(name)
    if table is None:
        limit, chunks = (None, rows.shape[1]), (ROWS_A_CHUNK, rows.shape[1])
        tables.group.create_dataset(name, data=rows, maxshape=limit, chunks=chunks)
    else:
        write_rows(table, count_rows(table), rows)
