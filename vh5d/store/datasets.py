"""Datasets whose chunks lie in pools, and tables kept as such datasets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.address import address_of
from vh5d.hdf5.block_image import UNDEFINED
from vh5d.hdf5.chunk_index import build, read_records, update
from vh5d.hdf5.chunk_records import ChunkRecords, grid_keys
from vh5d.hdf5.dataset_spec import DatasetSpec, of_array
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.object_header import add_dataset_header, chunk_index_of
from vh5d.store import encoding
from vh5d.store.encoding import RAW, Encoding
from vh5d.store.pools import ADDRESS, MASK, STORED, Pool, hash_chunk
from vh5d.store.staging import StagingArea

TABLE_CHUNK_NBYTES = 8192
Number = TypeVar("Number", np.uint8, np.uint64)
# Room for one attribute, or for naming a continuation block: HDF5 moves attributes there, and never
# the messages that say where the chunks are.
HEADER_ROOM = 64
SMALL_TABLE_NBYTES = 8192  # smaller tables are ordinary datasets


Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Index:
    """A chunk index in the store: where its tree begins, and how it is laid out."""

    root: int
    format: IndexFormat


def index_of(read: Read, dataset: h5py.Dataset) -> Index:
    """Return the chunk index of a dataset whose chunks lie in pools.

    Parameters
    ----------
    read
        Takes a file address and a number of bytes, returns them.
    dataset
        Any dataset that was staged by `stage_header`.
    """
    return index_at(read, address_of(dataset.id))


def index_at(read: Read, address: int) -> Index:
    """Return the chunk index of the dataset at an address; see `index_of`."""
    return Index(*chunk_index_of(read, address))


def records_of(read: Read, dataset: h5py.Dataset) -> ChunkRecords:
    """Return the index records of such a dataset: where its chunks lie."""
    index = index_of(read, dataset)
    return read_records(read, index.root, index.format)


def stage_index(
    area: StagingArea, spec: DatasetSpec, records: ChunkRecords, previous: Index | None
) -> Index:
    """Stage the index of these chunks, sharing what it can with the previous version's."""
    fresh = IndexFormat.for_chunks(
        len(spec.chunks), spec.chunk_nbytes, filtered=spec.filtered, n=len(records)
    )
    if previous is None or previous.root == UNDEFINED or not _same_records(previous.format, fresh):
        return Index(build(records, fresh, area.image), fresh)
    before = read_records(area.read, previous.root, previous.format)
    puts, removes = _difference(before, records)
    if not len(puts) and not len(removes):
        return previous
    return Index(*update(area.read, previous.root, previous.format, puts, removes, area.image))


def _same_records(one: IndexFormat, other: IndexFormat) -> bool:
    return (one.ndim, one.chunk_nbytes, one.filtered) == (
        other.ndim,
        other.chunk_nbytes,
        other.filtered,
    )


def _difference(
    before: ChunkRecords, after: ChunkRecords
) -> tuple[ChunkRecords, NDArray[np.uint64]]:
    """Return the records to put, and the places (m, ndim) to remove."""
    old, new = grid_keys(before.scaled), grid_keys(after.scaled)
    if len(old):
        at = np.minimum(np.searchsorted(old, new), len(old) - 1)
        kept = old[at] == new
        for was, now in (
            (before.addresses, after.addresses),
            (before.sizes, after.sizes),
            (before.masks, after.masks),
        ):
            kept &= was[at] == now
    else:
        kept = np.zeros(len(new), bool)
    gone = ~np.isin(old, new, assume_unique=True)
    return after.take(~kept), before.scaled[gone]


def stage_header(area: StagingArea, spec: DatasetSpec, index: Index) -> int:
    """Stage the object header of a dataset; return its staged address."""
    return add_dataset_header(
        area.image,
        type_id=spec.type_id,
        space=spec.space,
        dcpl=spec.dcpl,
        index=index.root,
        fmt=index.format,
        room=HEADER_ROOM,
    )


def pool_records(
    pool: Pool, rows: NDArray[np.int64], scaled: NDArray[np.uint64], masks: NDArray[np.uint32]
) -> ChunkRecords:
    """Return index records for chunks of a pool.

    Parameters
    ----------
    pool
        Where the chunks are.
    rows
        (n,) their rows.
    scaled
        (n, ndim) their positions in the chunk grid, row-major.
    masks
        (n,) their filter masks in the source; used when the pool keeps bytes as they came.
    """
    table = pool.rows(rows)
    raw = pool.encoding == RAW
    return ChunkRecords(
        scaled=scaled,
        addresses=table[:, ADDRESS],
        sizes=table[:, STORED],
        masks=masks if raw else table[:, MASK].astype(np.uint32),
    )


def table_encoding(itemsize: int) -> Encoding:
    """Return the encoding of a store's own tables."""
    return encoding.compressed("deflate", itemsize)


@dataclass(frozen=True)
class Table:
    """A table to be kept with a version: rows of plain numbers, (n, k)."""

    name: str
    rows: NDArray[Any]


def write_table(
    area: StagingArea, group: h5py.Group, table: Table, previous: h5py.Group | None
) -> None:
    """Keep a table in `group`, sharing with the one of the same name in `previous`.

    An equal table is a hard link; a large one shares its unchanged chunks; of an empty one
    nothing is kept.
    """
    if not table.rows.size:
        return
    old = previous.get(table.name) if previous is not None else None
    if old is not None and old.shape == table.rows.shape and np.array_equal(old[()], table.rows):
        group[table.name] = old
        return
    if table.rows.nbytes <= SMALL_TABLE_NBYTES:
        group.create_dataset(table.name, data=table.rows)
        return
    shared = old is not None and old.chunks is not None
    header = _stage_table(area, table, index_of(area.read, old) if shared else None)
    (dataset,) = area.place([header])
    group[table.name] = dataset


def read_table(group: h5py.Group, name: str, width: int, dtype: type[Number]) -> NDArray[Number]:
    """Return a table that `write_table` kept."""
    if name not in group:
        return np.empty((0, width), dtype)
    rows: NDArray[Number] = group[name][()]
    return rows


def _stage_table(area: StagingArea, table: Table, previous: Index | None) -> int:
    rows = np.ascontiguousarray(table.rows)
    chosen = table_encoding(rows.dtype.itemsize)
    pool = area.pools[chosen.name]
    width = rows.shape[1]
    chunk_rows = max(1, TABLE_CHUNK_NBYTES // (width * rows.dtype.itemsize))
    spec = of_array(
        rows.dtype,
        rows.shape,
        (chunk_rows, width),
        maxshape=(None, width),
        filters=chosen.filters,
    )
    count = -(-len(rows) // chunk_rows)
    placed = np.empty(count, np.int64)
    for i in range(count):
        data = rows[i * chunk_rows : (i + 1) * chunk_rows].tobytes().ljust(spec.chunk_nbytes, b"\0")
        placed[i] = store_bytes(area, pool, data)
    area.chunks.flush()
    scaled = np.zeros((count, 2), np.uint64)
    scaled[:, 0] = np.arange(count)
    records = pool_records(pool, placed, scaled, np.zeros(count, np.uint32))
    return stage_header(area, spec, stage_index(area, spec, records, previous))


def store_bytes(area: StagingArea, pool: Pool, data: bytes) -> int:
    """Store one chunk's bytes in a pool, unless they are there; return the row."""
    digest = hash_chunk(data)
    (row,) = pool.find(np.frombuffer(digest, np.uint8).reshape(1, -1)).rows
    if row >= 0:
        return int(row)
    stored, mask = pool.encoding.encode(data)
    return area.chunks.add(pool, digest, stored, mask, len(data))
