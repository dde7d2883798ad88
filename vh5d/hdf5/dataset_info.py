"""What kind of dataset a dataset is: how its values are stored, and are to be kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from h5py import h5d, h5s
from numpy.typing import NDArray

from vh5d.hdf5.dataspace import extent_of
from vh5d.hdf5.element_type import Layout, layout_of
from vh5d.hdf5.extents import chunk_offsets

SMALL_NBYTES = 4096
"""Contiguous data up to this size is copied whole: it is not worth a chunk index."""

_BLOCK_NBYTES = 4 << 20


class Storage(Enum):
    """How the values of a dataset are kept."""

    CHUNKED = "chunked"  # stored chunks are shared byte for byte
    CONTIGUOUS = "contiguous"  # raw bytes at one offset
    WHOLE = "whole"  # small, or full of pointers and references: copied by HDF5
    DEFINITION = "definition"  # virtual or in external files: never read


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a pipeline, as `H5Pget_filter` tells it."""

    code: int
    flags: int
    values: tuple[int, ...]
    name: bytes


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset but for its values.

    Attributes
    ----------
    storage
        See `Storage`.
    shape
        In elements; None for a null dataspace.
    maxshape
        None in the place of a dimension without limit.
    chunks
        Chunk shape in elements; None unless chunked.
    itemsize
        Bytes an element.
    filters
        The filter pipeline in the order of writing.
    offset
        Where in the file (userblock included) the values of CONTIGUOUS storage begin.
    nbytes
        Bytes of CONTIGUOUS storage.
    has_references
        Whether its type holds references, at any depth.
    """

    storage: Storage
    shape: tuple[int, ...] | None
    maxshape: tuple[int | None, ...] | None
    chunks: tuple[int, ...] | None
    itemsize: int
    filters: tuple[Filter, ...]
    offset: int | None
    nbytes: int
    has_references: bool

    @property
    def chunk_nbytes(self) -> int:
        """Bytes of a chunk before any filter."""
        return math.prod(self.chunks or ()) * self.itemsize


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """A dataset's identifiers, read once, beside what they say."""

    id: Any
    type_id: Any
    space: Any
    dcpl: Any
    layout: Layout
    info: DatasetInfo

    def read_plain(self, file_space: Any) -> NDArray[np.void]:
        """Read selected elements of a plain type, as they lie in the file but for filters."""
        dtype = np.dtype((np.void, self.type_id.get_size()))
        values = np.zeros(file_space.get_select_npoints(), dtype)
        memory = h5s.create_simple(values.shape)
        self.id.read(memory, file_space, values, mtype=self.type_id)
        return values


def open_dataset(dataset: Any) -> OpenDataset:
    """Describe a dataset without reading its values.

    Parameters
    ----------
    dataset
        h5py's DatasetID.
    """
    type_id, dcpl = dataset.get_type(), dataset.get_create_plist()
    space = _stored_space(dataset, dcpl)
    layout = layout_of(type_id)
    storage = _storage(dataset, dcpl, space, layout)
    contiguous = storage is Storage.CONTIGUOUS
    chunked = dcpl.get_layout() == h5d.CHUNKED
    shape, maxshape = extent_of(space)
    info = DatasetInfo(
        storage=storage,
        shape=shape,
        maxshape=maxshape,
        chunks=dcpl.get_chunk() if chunked else None,
        itemsize=type_id.get_size(),
        filters=tuple(Filter(*dcpl.get_filter(i)) for i in range(dcpl.get_nfilters())),
        offset=dataset.get_offset() if contiguous else None,
        nbytes=dataset.get_storage_size() if contiguous else 0,
        has_references=layout.has_references,
    )
    return OpenDataset(dataset, type_id, space, dcpl, layout, info)


def _stored_space(dataset: Any, dcpl: Any) -> Any:
    """Return the dataspace as stored.

    Asked for its space, a virtual dataset looks into its source files to see how far they go; its
    mappings carry the extent that was stored, and open nothing.
    """
    if dcpl.get_layout() == h5d.VIRTUAL and dcpl.get_virtual_count():
        space = dcpl.get_virtual_vspace(0)
        space.select_all()
        return space
    return dataset.get_space()


def _storage(dataset: Any, dcpl: Any, space: Any, layout: Layout) -> Storage:
    kind = dcpl.get_layout()
    if kind == h5d.VIRTUAL or dcpl.get_external_count():
        return Storage.DEFINITION
    if not layout.plain or space.get_simple_extent_type() != h5s.SIMPLE:
        return Storage.WHOLE
    if kind == h5d.CHUNKED:
        return Storage.CHUNKED
    if kind != h5d.CONTIGUOUS or dataset.get_offset() is None:
        return Storage.WHOLE
    return Storage.CONTIGUOUS if dataset.get_storage_size() > SMALL_NBYTES else Storage.WHOLE


def allocated_blocks(dataset: OpenDataset) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Go through the values that a dataset of WHOLE storage really has, a few at a time.

    Chunks that were never written are left out, however large the dataspace.

    Yields
    ------
    tuple
        The first element's coordinates, and the file dataspace with the block selected.
    """
    shape = dataset.info.shape
    if shape is None or 0 in shape:
        return
    if dataset.info.chunks is None:
        if dataset.id.get_space_status() != h5d.SPACE_STATUS_NOT_ALLOCATED:
            yield from _row_blocks(dataset)
        return
    for start in map(tuple, chunk_offsets(dataset.id).tolist()):
        within = zip(start, dataset.info.chunks, shape, strict=True)
        yield start, _select(dataset, start, tuple(min(c, n - s) for s, c, n in within))


def _row_blocks(dataset: OpenDataset) -> Iterator[tuple[tuple[int, ...], Any]]:
    shape = dataset.info.shape
    if not shape:
        yield (), dataset.space
        return
    row_nbytes = math.prod(shape[1:]) * dataset.info.itemsize
    rows = max(1, _BLOCK_NBYTES // row_nbytes)
    rest = (0,) * (len(shape) - 1)
    if rows >= shape[0]:
        yield (0, *rest), dataset.space
        return
    for first in range(0, shape[0], rows):
        start = (first, *rest)
        yield start, _select(dataset, start, (min(rows, shape[0] - first), *shape[1:]))


def _select(dataset: OpenDataset, start: tuple[int, ...], count: tuple[int, ...]) -> Any:
    space = dataset.space.copy()
    space.select_hyperslab(start, count)
    return space
