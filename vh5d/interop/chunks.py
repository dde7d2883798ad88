"""The chunks of raw datasets of versioned-hdf5, as rows of a pool of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.extents import Extents, chunk_extents
from vh5d.hdf5.stubs import StoredChunks
from vh5d.hdf5.virtual import stored_itemsize
from vh5d.store.encoding import RAW
from vh5d.store.pools import HASH_NBYTES, Pool, hash_chunk
from vh5d.store.staging import StagingArea

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RawChunks:
    """The chunks of a raw dataset.

    Attributes
    ----------
    id
        Its DatasetID.
    shape
        Of a chunk.
    rows
        (n,) int64, the pool's row of each chunk, counted along the first axis; -1 where none is
        stored. None when the chunks are of no use outside their file: they point into its heaps.
    masks
        (n,) uint32, their filter masks.
    """

    id: Any
    shape: tuple[int, ...]
    rows: NDArray[np.int64] | None
    masks: NDArray[np.uint32]


class ChunkSource(Protocol):
    """Brings the chunks of raw datasets into a store."""

    def __call__(self, raw: str) -> RawChunks:
        """Return the chunks of the raw dataset at a path; each is brought once."""


class _Source:
    def __init__(
        self,
        area: StagingArea,
        find: Callable[[str], h5py.Dataset],
        progress: Progress | None = None,
        total: int = 0,
    ) -> None:
        self._area, self._find = area, find
        self._progress, self._done, self._total = progress, 0, total
        self._known: dict[str, RawChunks] = {}

    def __call__(self, raw: str) -> RawChunks:
        if raw not in self._known:
            self._known[raw] = self._bring(self._find(raw))
        return self._known[raw]

    def _bring(self, raw: h5py.Dataset) -> RawChunks:
        extents = chunk_extents(raw.id)
        count = -(-raw.shape[0] // raw.chunks[0])
        masks = np.zeros(count, np.uint32)
        numbers = extents.scaled[:, 0].astype(np.int64)
        masks[numbers] = extents.masks
        if not self._shares(raw):
            return RawChunks(raw.id, raw.chunks, None, masks)
        rows = np.full(count, -1, np.int64)
        pool = self._area.pools[RAW.name]
        stored = StoredChunks(extents.scaled, extents.masks, raw.id)
        for i, (number, data) in enumerate(zip(numbers.tolist(), stored, strict=True)):
            digest = hash_chunk(data)
            (row,) = pool.find(np.frombuffer(digest, np.uint8).reshape(1, HASH_NBYTES)).rows
            rows[number] = row if row >= 0 else self._add(pool, digest, data, extents, i)
            self._advance(len(data))
        self._area.chunks.flush()
        return RawChunks(raw.id, raw.chunks, rows, masks)

    def _advance(self, nbytes: int) -> None:
        self._done += nbytes
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))

    def _shares(self, raw: h5py.Dataset) -> bool:
        raise NotImplementedError

    def _add(self, pool: Pool, digest: bytes, data: bytes, extents: Extents, i: int) -> int:
        raise NotImplementedError


class InPlace(_Source):
    """Leaves chunks where they are, in the file itself, and enters them into the pool.

    Parameters
    ----------
    area
        The commit.
    find
        Returns the raw dataset that a path means.
    progress
        Called with bytes read and bytes to read.
    total
        Bytes to read.
    """

    def _shares(self, raw: h5py.Dataset) -> bool:
        return stored_itemsize(raw.id.get_type()) is not None

    def _add(self, pool: Pool, digest: bytes, data: bytes, extents: Extents, i: int) -> int:
        row = pool.add(digest, len(data), int(extents.masks[i]), len(data))
        pool.place(row, int(extents.offsets[i]) - int(self._area.file.userblock_size))
        return row


class Copied(_Source):
    """Copies chunks from another file; parameters as `InPlace`."""

    def _shares(self, raw: h5py.Dataset) -> bool:
        type_id = raw.id.get_type()
        return bool(stored_itemsize(type_id) == type_id.get_size())

    def _add(self, pool: Pool, digest: bytes, data: bytes, extents: Extents, i: int) -> int:
        return self._area.chunks.add(pool, digest, data, int(extents.masks[i]), len(data))


def stored_nbytes(raws: list[h5py.Dataset]) -> int:
    """Return how many bytes the chunks of raw datasets take."""
    return sum(int(raw.id.get_storage_size()) for raw in raws)
