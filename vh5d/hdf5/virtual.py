"""Virtual datasets that are made of blocks: read as tables, and made from tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5s, h5t, h5z
from numpy.typing import NDArray

from vh5d.hdf5 import native
from vh5d.hdf5.dataset_spec import DatasetSpec
from vh5d.hdf5.element_type import layout_of
from vh5d.hdf5.type_version import portable

THIS_FILE = b"."  # H5Pset_virtual: the source is in the file of the virtual dataset


@dataclass(frozen=True)
class Mappings:
    """What a virtual dataset shows, block by block.

    Attributes
    ----------
    starts, stops
        (n, ndim) int64, where each block is in the virtual dataset.
    source_starts
        (n, source ndim) int64, where its first element comes from.
    sources
        The files and datasets that blocks come from.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    source_starts: NDArray[np.int64]
    sources: frozenset[tuple[bytes, bytes]]

    def __len__(self) -> int:
        return len(self.starts)


def is_virtual(dataset_id: Any) -> bool:
    """Whether a dataset is a virtual one."""
    return bool(dataset_id.get_create_plist().get_layout() == h5d.VIRTUAL)


def mappings_of(dataset_id: Any) -> Mappings:
    """Return the mappings of a virtual dataset, but those of nothing.

    Parameters
    ----------
    dataset_id
        h5py's DatasetID.

    Raises
    ------
    ValueError
        A mapping is not of one block of elements to one of the same shape.
    """
    dcpl = dataset_id.get_create_plist()
    ndim = dataset_id.get_space().get_simple_extent_ndims()
    count = dcpl.get_virtual_count()
    boxes = np.empty((count, 2, ndim), np.int64)
    origins = np.empty((count, 2, ndim), np.int64)
    sources = set()
    n = 0
    for i in range(count):
        space = dcpl.get_virtual_vspace(i)
        if not space.get_select_npoints():
            continue
        sources.add((dcpl.get_virtual_filename(i), dcpl.get_virtual_dsetname(i)))
        boxes[n] = _block(space, ndim)
        origins[n] = _block(dcpl.get_virtual_srcspace(i), ndim)
        n += 1
    boxes, origins = boxes[:n], origins[:n]
    if not np.array_equal(boxes[:, 1] - boxes[:, 0], origins[:, 1] - origins[:, 0]):
        raise ValueError("a virtual dataset shows blocks in another shape than their source's")
    names = frozenset((file.encode(), name.encode()) for file, name in sources)
    return Mappings(boxes[:, 0], boxes[:, 1] + 1, origins[:, 0], names)


def _block(space: Any, ndim: int) -> Any:
    """Return the first and the last element of a selection that is a block."""
    bounds = space.get_select_bounds()
    count = math.prod(b - a + 1 for a, b in zip(*bounds, strict=True))
    if len(bounds[0]) != ndim or count != space.get_select_npoints():
        raise ValueError("a virtual dataset shows more than blocks of elements")
    return bounds


# How many bytes a string of variable length takes in a chunk: length (4), address of a heap (8),
# index in it (4). HDF5 File Format Specification, IV.A.2.d, class 9.
VARIABLE_STRING_NBYTES = 16


def stored_itemsize(type_id: Any) -> int | None:
    """Return how many bytes an element takes in a chunk; None of types with pointers inside."""
    if isinstance(type_id, h5t.TypeStringID) and type_id.is_variable_str():
        return VARIABLE_STRING_NBYTES
    return int(type_id.get_size()) if layout_of(type_id).plain else None


def chunked_spec(virtual_id: Any, source_id: Any) -> DatasetSpec:
    """Return what a dataset is that has chunks of its own for what a virtual one shows.

    Its shape and fill value are those of the virtual dataset, and it grows without limit. The rest
    is that of the source, a chunked dataset whose chunks may be shared if `stored_itemsize` knows
    their elements.
    """
    shape = virtual_id.get_space().get_simple_extent_dims()
    dcpl, type_id = source_id.get_create_plist(), source_id.get_type()
    fill = h5py.Dataset(virtual_id).fillvalue
    if not _same_fill(fill, h5py.Dataset(source_id).fillvalue):
        dcpl.set_fill_value(np.asarray(fill, h5py.Dataset(source_id).dtype))
    space = h5s.create_simple(shape, (h5s.UNLIMITED,) * len(shape))
    itemsize = stored_itemsize(type_id) or type_id.get_size()
    return DatasetSpec(type_id, space, dcpl, tuple(dcpl.get_chunk()), itemsize)


def _same_fill(one: Any, other: Any) -> bool:
    if isinstance(one, np.generic) and isinstance(other, np.generic):
        return one.tobytes() == other.tobytes()
    return bool(np.array_equal(one, other))


def copy_shown(spec: DatasetSpec, source_id: Any, mappings: Mappings, parent: Any) -> Any:
    """Make an anonymous dataset of its own for what a virtual one shows of a source.

    Parameters
    ----------
    spec
        What `chunked_spec` says.
    source_id
        DatasetID of the source.
    mappings
        The blocks.
    parent
        Any identifier in the file where the dataset shall be.
    """
    made = h5d.create(parent, None, portable(spec.type_id), spec.space, spec.dcpl)
    shown, origin = spec.space.copy(), source_id.get_space()
    for start, stop, first in zip(
        mappings.starts, mappings.stops, mappings.source_starts, strict=True
    ):
        count = tuple((stop - start).tolist())
        shown.select_hyperslab(tuple(start.tolist()), count)
        origin.select_hyperslab(tuple(first.tolist()), count)
        with native.dataset_values(source_id, spec.type_id, origin) as values:
            native.write_dataset(made, shown, values)
    return made


def create_virtual(
    parent: Any, like: Any, source: tuple[bytes, tuple[int, ...]], mappings: Mappings
) -> Any:
    """Make an anonymous virtual dataset over one dataset of the same file.

    Parameters
    ----------
    parent
        Any identifier in the file.
    like
        DatasetID of a dataset whose shape, element type and fill value to have.
    source
        Path and shape of the dataset that blocks come from.
    mappings
        The blocks; their `sources` are not looked at.
    """
    dcpl = like.get_create_plist()
    if dcpl.get_nfilters():
        dcpl.remove_filter(h5z.FILTER_ALL)
    dcpl.set_layout(h5d.VIRTUAL)
    path, source_shape = source
    space = h5s.create_simple(like.get_space().get_simple_extent_dims())
    virtual, origin = space.copy(), h5s.create_simple(source_shape)
    counts = (mappings.stops - mappings.starts).tolist()
    starts, source_starts = mappings.starts.tolist(), mappings.source_starts.tolist()
    for start, count, source_start in zip(starts, counts, source_starts, strict=True):
        virtual.select_hyperslab(tuple(start), tuple(count))
        origin.select_hyperslab(tuple(source_start), tuple(count))
        dcpl.set_virtual(virtual, THIS_FILE, path, origin)
    return h5d.create(parent, None, portable(like.get_type()), space, dcpl)


def make_like(
    parent: Any, name: bytes, like: Any, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> Any:
    """Make a chunked dataset that grows along its first axis, for chunks of another.

    Parameters
    ----------
    parent, name
        Where to link it.
    like
        DatasetID of a dataset whose element type, filters and fill value to have.
    shape, chunks
        In elements.
    """
    dcpl = like.get_create_plist()
    dcpl.set_layout(h5d.CHUNKED)
    dcpl.set_chunk(chunks)
    dcpl.set_alloc_time(h5d.ALLOC_TIME_INCR)
    type_id = portable(like.get_type())
    space = h5s.create_simple(shape, (h5s.UNLIMITED, *shape[1:]))
    return h5d.create(parent, name, type_id, space, dcpl)


def chunks_are_portable(dataset_id: Any) -> bool:
    """Whether the stored bytes of a dataset's chunks mean the same in another file."""
    return layout_of(dataset_id.get_type()).plain
