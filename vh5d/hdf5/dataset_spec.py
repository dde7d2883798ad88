"""What a chunked dataset is, apart from its chunks: type, dataspace, creation properties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z


class FilterLike(Protocol):
    """A filter of a pipeline: its registered code, its parameters, whether it may be skipped."""

    @property
    def code(self) -> int:
        """Its number in the registry of filters."""

    @property
    def values(self) -> tuple[int, ...]:
        """Its parameters."""

    @property
    def optional(self) -> bool:
        """Whether a chunk may go without it."""


@dataclass(frozen=True)
class DatasetSpec:
    """The ids that an object header is made from, and the chunk shape among them.

    Attributes
    ----------
    type_id, space, dcpl
        h5py's TypeID, SpaceID and PropDCID.
    chunks
        The chunk shape, in elements.
    itemsize
        Bytes an element.
    """

    type_id: Any
    space: Any
    dcpl: Any
    chunks: tuple[int, ...]
    itemsize: int

    @property
    def shape(self) -> tuple[int, ...]:
        """In elements."""
        extent: tuple[int, ...] = self.space.get_simple_extent_dims()
        return extent

    @property
    def chunk_nbytes(self) -> int:
        """Bytes of a chunk before any filter."""
        return int(np.prod(self.chunks, dtype=object)) * self.itemsize

    @property
    def filtered(self) -> bool:
        """Whether chunks go through a filter pipeline."""
        return bool(self.dcpl.get_nfilters())


def of_dataset(
    dataset_id: Any,
    *,
    chunks: Sequence[int] | None = None,
    filters: Sequence[FilterLike] = (),
    shape: Sequence[int] | None = None,
) -> DatasetSpec:
    """Return the spec of an existing dataset, perhaps with other chunks and added filters.

    Parameters
    ----------
    dataset_id
        h5py's DatasetID.
    chunks
        The chunk shape to have; None keeps the dataset's own.
    filters
        Filters to append to the pipeline.
    shape
        The extent to have; None keeps the one that the dataset has now.
    """
    dcpl = dataset_id.get_create_plist()
    if chunks is not None:
        fresh = dcpl.copy()
        fresh.set_layout(h5d.CHUNKED)
        fresh.set_chunk(tuple(chunks))
        # A contiguous dataset may be allocated early; a header that shares chunks never is.
        fresh.set_alloc_time(h5d.ALLOC_TIME_INCR)
        dcpl = fresh
    _add_filters(dcpl, filters)
    type_id = dataset_id.get_type()
    space = dataset_id.get_space()
    if shape is not None:
        space.set_extent_simple(tuple(shape), space.get_simple_extent_dims(True))
    return DatasetSpec(type_id, space, dcpl, tuple(dcpl.get_chunk()), type_id.get_size())


def of_array(
    dtype: np.dtype[Any],
    shape: Sequence[int],
    chunks: Sequence[int],
    *,
    maxshape: Sequence[int | None] | None = None,
    filters: Sequence[FilterLike] = (),
) -> DatasetSpec:
    """Return the spec of a new dataset of plain numbers."""
    dcpl = h5p.create(h5p.DATASET_CREATE)
    dcpl.set_chunk(tuple(chunks))
    dcpl.set_fill_time(h5d.FILL_TIME_IFSET)
    _add_filters(dcpl, filters)
    limit = (
        None
        if maxshape is None
        else tuple(h5s.UNLIMITED if extent is None else extent for extent in maxshape)
    )
    space = h5s.create_simple(tuple(shape), limit)
    return DatasetSpec(h5t.py_create(dtype), space, dcpl, tuple(chunks), dtype.itemsize)


def _add_filters(dcpl: Any, filters: Sequence[FilterLike]) -> None:
    # The parameters are given whole: no filter's set_local runs when a header is built.
    for each in filters:
        flags = h5z.FLAG_OPTIONAL if each.optional else h5z.FLAG_MANDATORY
        dcpl.set_filter(each.code, flags, each.values)
