"""Raw datasets and hash tables in the layout of versioned-hdf5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.extents import chunk_extents
from vh5d.hdf5.virtual import Mappings, chunks_are_portable, make_like
from vh5d.interop.theirs import (
    CHUNKS_ATTRIBUTE,
    COUNT_ATTRIBUTE,
    HASH_TABLE,
    HASH_TABLE_CHUNK,
    HASHES,
    RAW,
    hash_of,
)
from vh5d.store import layout

Place = tuple[int, ...]
Region = tuple[slice, ...]


@dataclass(frozen=True)
class StoredChunk:
    """A chunk of a dataset of ours.

    Attributes
    ----------
    region
        Of the dataset, up to its edge.
    address, nbytes, mask
        Where its bytes lie in the file, and how they were filtered; address None if they are of no
        use elsewhere.
    """

    region: Region
    address: int | None
    nbytes: int = 0
    mask: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape up to the edge."""
        return tuple(part.stop - part.start for part in self.region)


class RawWriter:
    """The raw dataset of one dataset, in all versions.

    Parameters
    ----------
    file
        The file being made.
    path
        Where the raw dataset's group is, below `/_version_data`.
    like
        A dataset whose element type, filters and fill value to have.
    chunks
        Shape of a chunk.
    """

    def __init__(
        self, file: h5py.File, path: str, like: h5py.Dataset, chunks: tuple[int, ...]
    ) -> None:
        self.chunks = chunks
        self._group = file.require_group(f"{layout.ROOT}/{path}")
        self.path = f"{self._group.name}/{RAW}"
        self._room = 0
        made = make_like(self._group.id, RAW.encode(), like.id, (0, *chunks[1:]), chunks)
        self.dataset = h5py.Dataset(made)
        self.dataset.attrs[CHUNKS_ATTRIBUTE] = np.array(chunks)
        self._by_hash: dict[bytes, int] = {}
        self._by_place: dict[tuple[int, tuple[int, ...]], int] = {}
        self._rows: list[tuple[int, int]] = []

    def add(self, dataset: h5py.Dataset, chunk: StoredChunk, read: Any) -> int:
        """Store a chunk, unless it is there; return its number."""
        place = None if chunk.address is None else (chunk.address, chunk.shape)
        if place is not None and place in self._by_place:
            return self._by_place[place]
        values = dataset[chunk.region]
        digest = hash_of(values)
        number = self._by_hash.get(digest)
        if number is None:
            number = self._by_hash[digest] = len(self._rows)
            self._write(number, values, chunk, read)
        if place is not None:
            self._by_place[place] = number
        return number

    def _write(self, number: int, values: NDArray[Any], chunk: StoredChunk, read: Any) -> None:
        size = self.chunks[0]
        if number >= self._room:
            self._room = max(1, 2 * self._room)
            self.dataset.resize(self._room * size, axis=0)
        first = number * size
        self._rows.append((first, first + chunk.shape[0]))
        if chunk.address is None:
            where = (slice(first, first + chunk.shape[0]), *(slice(n) for n in chunk.shape[1:]))
            self.dataset[where] = values
            return
        offset = (first, *(0 for _ in self.chunks[1:]))
        data = read(chunk.address, chunk.nbytes)
        self.dataset.id.write_direct_chunk(offset, data, chunk.mask)

    def mappings(self, chunks: list[StoredChunk], numbers: list[int]) -> Mappings:
        """Return the virtual dataset's mappings to the chunks of these numbers."""
        ndim = len(self.chunks)
        starts = np.array([[part.start for part in each.region] for each in chunks], np.int64)
        shapes = np.array([each.shape for each in chunks], np.int64)
        starts, shapes = starts.reshape(-1, ndim), shapes.reshape(-1, ndim)
        sources = np.zeros((len(chunks), ndim), np.int64)
        sources[:, 0] = np.array(numbers, np.int64) * self.chunks[0]
        return Mappings(starts, starts + shapes, sources, frozenset())

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the raw dataset, as far as it is filled."""
        return (max(1, len(self._rows)) * self.chunks[0], *self.chunks[1:])

    def finish(self) -> None:
        """Write the hash table, and cut the raw dataset to its length."""
        self.dataset.resize(len(self._rows) * self.chunks[0], axis=0)
        table = np.zeros(max(1, len(self._rows)), HASH_TABLE)
        for row, (digest, number) in enumerate(self._by_hash.items()):
            table[row] = np.frombuffer(digest, np.uint8), self._rows[number]
        made = self._group.create_dataset(
            HASHES, data=table, maxshape=(None,), chunks=(HASH_TABLE_CHUNK,), compression="lzf"
        )
        made.attrs[COUNT_ATTRIBUTE] = len(self._rows)


def chunks_of(dataset: h5py.Dataset, chunks: tuple[int, ...]) -> Iterator[StoredChunk]:
    """Yield the chunks of a dataset of ours, in row-major order.

    Parameters
    ----------
    dataset
        The dataset; those of its chunks that were never written are left out.
    chunks
        Shape of a chunk: its own, or any if it has none.
    """
    if dataset.chunks is None:
        counts = [-(-length // size) for length, size in zip(dataset.shape, chunks, strict=True)]
        for place in np.ndindex(*counts):
            yield StoredChunk(_region(place, chunks, dataset.shape), None)
        return
    extents, direct = chunk_extents(dataset.id), chunks_are_portable(dataset.id)
    fields = (extents.scaled, extents.offsets, extents.nbytes, extents.masks)
    for scaled, address, nbytes, mask in zip(*(each.tolist() for each in fields), strict=True):
        region = _region(tuple(scaled), chunks, dataset.shape)
        if all(part.start < part.stop for part in region):
            yield StoredChunk(region, address if direct else None, nbytes, mask)


def _region(place: Place, chunks: tuple[int, ...], shape: tuple[int, ...]) -> Region:
    return tuple(
        slice(at * size, min((at + 1) * size, length))
        for at, size, length in zip(place, chunks, shape, strict=True)
    )
