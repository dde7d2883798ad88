"""Puts the chunks of a staged dataset into the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.address import address_of
from vh5d.hdf5.chunk_index import build, read_records, update
from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.hdf5.dataset_spec import DatasetSpec, of_dataset
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.stubs import extent, stored_as_in_memory, stored_chunks
from vh5d.store.datasets import Index, index_at, pool_records
from vh5d.store.encoding import RAW
from vh5d.store.pools import HASH_NBYTES, hash_chunk
from vh5d.store.staging import StagingArea
from vh5d.versioned.draft_values import write_chunks
from vh5d.versioned.node import Node

StoredChunk = tuple[tuple[int, ...], int, bytes]

BATCH = 256  # chunks looked up in the pool at once
SMALL_NBYTES = 4096  # data of which nobody said how to store it, and that is not worth an index


@dataclass(frozen=True)
class StagedValues:
    """The values of a dataset of chunks, in the store.

    Attributes
    ----------
    spec
        The dataset but for its chunks.
    index
        Where the chunks are; None for a dataset that is written as a whole if it is at all.
    changed
        Whether they differ from those of the committed dataset that it stands for.
    """

    spec: DatasetSpec
    index: Index | None
    changed: bool


def stage_values(area: StagingArea, node: Node) -> StagedValues:
    """Stage the chunks of a dataset that are new, and the index that names them all.

    Parameters
    ----------
    area
        The commit.
    node
        A dataset of plain elements; its chunks end in the draft, as they are to be stored.
    """
    before = _index_before(area, node)
    spec = of_dataset(node.id)
    if node.array is None and node.source is not None and before is None:
        return StagedValues(spec, None, changed=node.source is not node.base)
    if node.implicit and int(np.prod(spec.shape, dtype=object)) * spec.itemsize <= SMALL_NBYTES:
        if node.array is not None:
            write_chunks(node.id, node.array.to_chunks())
        return StagedValues(spec, None, changed=True)
    new = _new_chunks(node, spec, whole=before is None)
    chunks = _store_chunks(area, new, len(spec.chunks))
    if before is None:
        fresh = IndexFormat.for_chunks(
            len(spec.chunks), spec.chunk_nbytes, filtered=spec.filtered, n=len(chunks)
        )
        return StagedValues(spec, Index(build(chunks, fresh, area.image), fresh), changed=True)
    index, gone = before, _gone(area, node, before)
    if len(chunks) or len(gone):
        index = Index(*update(area.read, before.root, before.format, chunks, gone, area.image))
    same = index.root == before.root and node.source is node.base and not _resized(node)
    return StagedValues(spec, index, changed=not same)


def _index_before(area: StagingArea, node: Node) -> Index | None:
    """Return the index of the committed dataset whose values the node began with."""
    if node.source is None:
        return None
    try:
        return index_at(area.read, address_of(node.source))
    except StoreDamagedError:
        return None  # not one of ours


def _gone(area: StagingArea, node: Node, before: Index) -> NDArray[np.uint64]:
    """Return the places (m, ndim) of committed chunks that are not as they were."""
    if node.array is None or not node.cut:
        return np.empty((0, before.format.ndim), np.uint64)
    # Of a sparse dataset only the chunks that exist can be counted.
    scaled = read_records(area.read, before.root, before.format).scaled
    return scaled[~node.array.keeps(scaled)]


def _resized(node: Node) -> bool:
    return node.base is None or extent(node.id)[0] != extent(node.base)[0]


def _new_chunks(node: Node, spec: DatasetSpec, *, whole: bool) -> Iterator[StoredChunk]:
    """Yield the chunks of a dataset that are not those of the committed one, or all of them.

    They come in row-major order: place in the chunk grid, filter mask, bytes.
    """
    if node.array is not None:
        staged = node.array.to_chunks() if whole else node.array.dirty()
        if not spec.filtered and stored_as_in_memory(spec.type_id, node.array.dtype):
            yield from ((place, 0, values.tobytes()) for place, values in staged)
            return
        write_chunks(node.id, staged)  # HDF5 converts and filters
    chunks = stored_chunks(node.id)
    yield from zip(map(tuple, chunks.scaled.tolist()), chunks.masks.tolist(), chunks, strict=True)


def _store_chunks(area: StagingArea, chunks: Iterator[StoredChunk], ndim: int) -> ChunkRecords:
    rows: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    places: list[tuple[int, ...]] = []
    masks: list[int] = []
    while batch := list(islice(chunks, BATCH)):
        new_places, new_masks, stored = zip(*batch, strict=True)
        places += new_places
        masks += new_masks
        rows.append(store_batch(area, stored, np.array(new_masks, np.uint32)))
    area.chunks.flush()
    scaled = np.array(places, np.uint64).reshape(len(places), ndim)
    pool = area.pools[RAW.name]
    return pool_records(pool, np.concatenate(rows), scaled, np.array(masks, np.uint32))


def store_batch(
    area: StagingArea, batch: Sequence[bytes], masks: NDArray[np.uint32]
) -> NDArray[np.int64]:
    """Store chunks as they are, unless they are there; return their rows."""
    pool = area.pools[RAW.name]
    digests = [hash_chunk(data) for data in batch]
    hashes = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, HASH_NBYTES)
    rows = pool.find(hashes).rows
    for i in np.flatnonzero(rows < 0).tolist():
        data = batch[i]
        rows[i] = area.chunks.add(pool, digests[i], data, int(masks[i]), len(data))
    return rows
