"""Datasets of committed versions stored in another way.

Versions of a dataset that share most of their chunks are remade with the work that they do not
share: of each only those chunks are read whose values differ from those of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.block_image import UNDEFINED
from vh5d.hdf5.chunk_index import build, changes, read_records, update
from vh5d.hdf5.chunk_records import ChunkRecords, grid_keys
from vh5d.hdf5.creation_options import create_extended
from vh5d.hdf5.dataset_info import open_dataset
from vh5d.hdf5.dataset_spec import DatasetSpec, of_dataset
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.memory_file import memory_file
from vh5d.hdf5.stubs import is_array, stored_chunks
from vh5d.store.datasets import Index, index_of, pool_records, stage_header
from vh5d.store.encoding import RAW
from vh5d.store.staging import StagingArea
from vh5d.versioned.recipe import Recipe
from vh5d.versioned.values import store_batch

BATCH_NBYTES = 4 << 20  # of chunks that are made at once

Places = NDArray[np.uint64]
"""(n, ndim) places in a chunk grid."""


@dataclass(frozen=True)
class _Remade:
    """A dataset, and what became of it."""

    old: h5py.Dataset
    before: Index
    spec: DatasetSpec
    after: Index


class Remaking:
    """Stores datasets in another way.

    Parameters
    ----------
    area
        The commit.
    recipe
        The other way.
    """

    def __init__(self, area: StagingArea, recipe: Recipe) -> None:
        self._area = area
        self._recipe = recipe
        self._last: _Remade | None = None

    def remake(self, old: h5py.Dataset) -> Any:
        """Store a dataset anew; return the low-level identifier of the new one, not linked yet.

        Its attributes are left to the caller.
        """
        with memory_file() as scratch:
            template = self._recipe.template(old, scratch.create_dataset)
            opened = open_dataset(template.id)
            if old.shape and is_array(opened) and template.chunks is not None:
                return self._in_chunks(old, of_dataset(template.id), template)
        made = self._recipe.template(old, self._area.file.create_dataset)
        if old.shape is not None:
            made[()] = self._recipe.convert(old, old[()])
        return made.id

    def _in_chunks(self, old: h5py.Dataset, spec: DatasetSpec, template: h5py.Dataset) -> Any:
        before = self._index_of(old)
        last = self._last
        wanted = self._present(old, before, spec)
        if before is not None and last is not None and _alike(last, old, before, spec):
            after = self._continue(last, old, before, spec, wanted, template)
        else:
            records = self._store(old, spec, wanted, template)
            fmt = IndexFormat.for_chunks(
                len(spec.chunks), spec.chunk_nbytes, filtered=spec.filtered, n=len(records)
            )
            after = Index(build(records, fmt, self._area.image), fmt)
        self._last = None if before is None else _Remade(old, before, spec, after)
        header = stage_header(self._area, spec, after)
        (made,) = self._area.place([header])
        if self._last is not None:
            self._last = _Remade(old, self._last.before, spec, index_of(self._area.read, made))
        return made.id

    def _index_of(self, old: h5py.Dataset) -> Index | None:
        if old.chunks is None:
            return None
        try:
            return index_of(self._area.read, old)
        except StoreDamagedError:
            return None  # not one of ours

    def _present(self, old: h5py.Dataset, index: Index | None, spec: DatasetSpec) -> Places:
        """Return the new chunks that have something to hold."""
        if index is None:
            grid = np.indices(
                [-(-extent // step) for extent, step in zip(old.shape, spec.chunks, strict=True)],
                np.uint64,
            )
            return grid.reshape(len(spec.chunks), -1).T
        scaled = read_records(self._area.read, index.root, index.format).scaled
        return covering(scaled, old.chunks, spec.chunks, old.shape)

    def _continue(
        self,
        last: _Remade,
        old: h5py.Dataset,
        before: Index,
        spec: DatasetSpec,
        wanted: Places,
        template: h5py.Dataset,
    ) -> Index:
        """Return the index of the dataset made before, with what differs put right."""
        area = self._area
        gone, new = changes(
            area.read, last.before.root, last.before.format, before.root, before.format
        )
        touched = [gone.scaled, new.scaled]
        if last.old.shape != old.shape:
            for index in (last.before, before):
                scaled = read_records(area.read, index.root, index.format).scaled
                touched.append(scaled[_at_edge(scaled, old.chunks, last.old.shape, old.shape)])
        extent = tuple(map(max, last.old.shape, old.shape))
        affected = covering(np.concatenate(touched), old.chunks, spec.chunks, extent)
        again = np.isin(grid_keys(affected), grid_keys(wanted))
        puts = self._store(old, spec, affected[again], template)
        known = read_records(area.read, last.after.root, last.after.format).scaled
        removes = affected[~again]
        removes = removes[np.isin(grid_keys(removes), grid_keys(known))]
        if not len(puts) and not len(removes):
            return last.after
        return Index(
            *update(area.read, last.after.root, last.after.format, puts, removes, area.image)
        )

    def _store(
        self, old: h5py.Dataset, spec: DatasetSpec, places: Places, template: h5py.Dataset
    ) -> ChunkRecords:
        """Store new chunks, filled from the old dataset; return the records of them."""
        if not len(places):
            return ChunkRecords.empty(len(spec.chunks))
        area, pool = self._area, self._area.pools[RAW.name]
        rows = np.empty(len(places), np.int64)
        masks = np.zeros(len(places), np.uint32)
        count = max(1, min(len(places), BATCH_NBYTES // spec.chunk_nbytes))
        with memory_file() as scratch:
            bench = _Bench(scratch, spec, template, count)
            at, waiting = 0, iter(places.tolist())
            while batch := list(islice(waiting, count)):
                values = [self._values(old, spec, place, template) for place in batch]
                stored, found = bench.encode(values)
                rows[at : at + len(batch)] = store_batch(area, stored, found)
                masks[at : at + len(batch)] = found
                at += len(batch)
        area.chunks.flush()
        order = np.lexsort(places.T[::-1])
        return pool_records(pool, rows[order], places[order], masks[order])

    def _values(
        self, old: h5py.Dataset, spec: DatasetSpec, place: list[int], template: h5py.Dataset
    ) -> NDArray[Any]:
        """Return a whole new chunk; beyond the dataset's edge it is fill value."""
        starts = [i * step for i, step in zip(place, spec.chunks, strict=True)]
        stops = [min(a + step, n) for a, step, n in
                 zip(starts, spec.chunks, old.shape, strict=True)]  # fmt: skip
        region = tuple(map(slice, starts, stops))
        values: NDArray[Any] = self._recipe.convert(old, old[region])
        if all(z - a == step for a, z, step in zip(starts, stops, spec.chunks, strict=True)):
            return values
        whole = np.full(spec.chunks, template.fillvalue, template.dtype)
        whole[tuple(slice(0, z - a) for a, z in zip(starts, stops, strict=True))] = values
        return whole


class _Bench:
    """Has HDF5 put values through a filter pipeline."""

    def __init__(
        self, scratch: h5py.File, spec: DatasetSpec, template: h5py.Dataset, count: int
    ) -> None:
        self._rows = spec.chunks[0]
        shape = (count * spec.chunks[0], *spec.chunks[1:])
        self._dataset = h5py.Dataset(create_extended(scratch.id, template.id, shape))

    def encode(self, values: list[NDArray[Any]]) -> tuple[list[bytes], NDArray[np.uint32]]:
        """Return chunks as they are to be stored, and their filter masks."""
        for i, each in enumerate(values):
            self._dataset[i * self._rows : (i + 1) * self._rows] = each
        self._dataset.id.flush()
        chunks = stored_chunks(self._dataset.id)
        return list(islice(chunks, len(values))), chunks.masks[: len(values)]


def _alike(last: _Remade, old: h5py.Dataset, before: Index, spec: DatasetSpec) -> bool:
    """Whether two datasets differ, before and after, in chunks and extent alone."""
    one, other = last.before.format, before.format
    return (
        before.root != UNDEFINED != last.before.root
        and last.after.root != UNDEFINED
        and (one.ndim, last.old.chunks, last.old.dtype) == (other.ndim, old.chunks, old.dtype)
        and last.spec.chunks == spec.chunks
        and last.spec.dcpl.equal(spec.dcpl)
        and last.spec.type_id.equal(spec.type_id)
        and last.old.fillvalue == old.fillvalue
    )


def _at_edge(
    scaled: Places, chunks: tuple[int, ...], one: tuple[int, ...], other: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return which chunks reach to where one of two extents ends before the other."""
    found = np.zeros(len(scaled), bool)
    for axis, (a, b) in enumerate(zip(one, other, strict=True)):
        if a != b:
            found |= (scaled[:, axis].astype(np.int64) + 1) * chunks[axis] > min(a, b)
    return found


def covering(
    scaled: Places, old: tuple[int, ...], new: tuple[int, ...], shape: tuple[int, ...]
) -> Places:
    """Return the places of a chunk grid that some chunks of another lie in, in row-major order.

    Parameters
    ----------
    scaled
        (n, ndim) places of the chunks in their own grid.
    old, new
        Chunk shapes of their grid and of the other.
    shape
        Places beyond this extent are left out.
    """
    places = np.empty((len(scaled), 0), np.int64)
    source = np.arange(len(scaled))
    for axis, (mine, theirs) in enumerate(zip(old, new, strict=True)):
        start = scaled[source, axis].astype(np.int64) * mine
        stop = np.minimum(start + mine, shape[axis])
        low, high = start // theirs, -(-stop // theirs)
        counts = np.maximum(high - low, 0)
        repeat = np.repeat(np.arange(len(source)), counts)
        offset = np.arange(len(repeat)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.concatenate([places[repeat], (low[repeat] + offset)[:, np.newaxis]], axis=1)
        source = source[repeat]
    return np.unique(places, axis=0).astype(np.uint64)
