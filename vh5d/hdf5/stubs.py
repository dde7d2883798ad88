"""Stubs: objects of one file made again in another without their content, to be worked on there.

A stub of a group has no links, a stub of a dataset no values, and neither has attributes. Stubs
are anonymous: whoever makes one keeps it open, or links it, or it is gone.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5o, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from vh5d.hdf5 import native
from vh5d.hdf5.address import open_by_address
from vh5d.hdf5.allocation import allocate
from vh5d.hdf5.block_image import UNDEFINED, BlockImage
from vh5d.hdf5.copying import copy_object, group_properties
from vh5d.hdf5.dataset_info import OpenDataset, Storage, allocated_blocks, open_dataset
from vh5d.hdf5.extents import chunk_extents
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.object_header import add_dataset_header
from vh5d.hdf5.references import Translate, Translator
from vh5d.hdf5.type_version import portable

CHUNK_ELEMENTS = 4096  # of one-dimensional data for which nobody chose a chunk shape
CHUNK_NBYTES = 1 << 20  # and at most so many bytes
# Deflate, shuffle, Fletcher-32: their parameters stay what they are.
SETTLED_FILTERS = (1, 2, 3)
PLAIN_KINDS = "biufc"  # of NumPy's dtypes: numbers
LEAST_CHUNK_ELEMENTS = 64  # of data that is stored again as a whole when it changes


def stub_group(file_id: Any, like: Any | None) -> Any:
    """Make a group with the creation properties of another, or the usual ones."""
    if like is None:
        return h5g.create(file_id, None)
    made = h5g.create(file_id, None, gcpl=group_properties(like))
    comment = native.comment_of(like)
    if comment:
        native.set_comment(made, comment)
    return made


def stub_datatype(file_id: Any, like: Any) -> Any:
    """Make a committed datatype like another."""
    name = f"vh5d-{uuid.uuid4()}".encode()
    root = h5g.open(file_id, b"/")
    made = copy_object(like, root, name)
    root.unlink(name)  # it stays as long as it is open
    return made


def stub_dataset(file_id: Any, dataset: OpenDataset) -> Any:
    """Make a dataset of the same type, dataspace and creation properties.

    One of plain values that is not chunked becomes chunked and resizable.

    Raises
    ------
    OSError, RuntimeError, ValueError
        What HDF5 said.
    """
    dcpl, space = dataset.dcpl.copy(), dataset.space
    if is_array(dataset) and dataset.info.chunks is None:
        dcpl, space = resizable(dataset.dcpl, dataset.info.shape or (), dataset.type_id)
    elif dataset.info.chunks is not None:
        dcpl.set_alloc_time(h5d.ALLOC_TIME_INCR)
    made = _create(file_id, portable(dataset.type_id), space, dcpl)
    comment = native.comment_of(dataset.id)
    if comment:
        native.set_comment(made, comment)
    return made


def is_array(dataset: OpenDataset) -> bool:
    """Whether a dataset's values are an array of plain elements, which chunks can be cut from."""
    simple = dataset.space.get_simple_extent_type() == h5s.SIMPLE
    return simple and dataset.layout.plain and dataset.info.storage is not Storage.DEFINITION


def resizable(dcpl: Any, shape: tuple[int, ...], type_id: Any) -> tuple[Any, Any]:
    """Return creation properties and dataspace of a dataset that grows without limit."""
    chunked = dcpl.copy()
    chunked.set_layout(h5d.CHUNKED)
    chunked.set_chunk(default_chunks(shape, type_id.get_size()))
    chunked.set_alloc_time(h5d.ALLOC_TIME_INCR)
    return chunked, h5s.create_simple(shape, (h5s.UNLIMITED,) * len(shape))


def unfiltered_stub(dataset_id: Any) -> Any:
    """Make a stub like another chunked dataset, in the same file, but without filters."""
    dcpl = dataset_id.get_create_plist()
    if dcpl.get_nfilters():
        dcpl.remove_filter(h5z.FILTER_ALL)
    type_id = dataset_id.get_type()
    if type_id.committed():
        type_id = type_id.copy()
    return h5d.create(dataset_id, None, type_id, dataset_id.get_space(), dcpl)


def grown_stub(dataset_id: Any) -> Any:
    """Make a stub like another dataset, in the same file, that grows without limit."""
    dataset = open_dataset(dataset_id)
    shape = dataset.info.shape or ()
    dcpl = dataset.dcpl.copy()
    if dataset.info.chunks is None:
        dcpl.set_layout(h5d.CHUNKED)
        itemsize = dataset.type_id.get_size()
        dcpl.set_chunk(default_chunks(shape, itemsize, whole=not dataset.layout.plain))
    space = h5s.create_simple(shape, (h5s.UNLIMITED,) * len(shape))
    return _create(dataset_id, dataset.type_id, space, dcpl)


def _create(loc: Any, type_id: Any, space: Any, dcpl: Any) -> Any:
    """Create an anonymous dataset whose filters have exactly the parameters of `dcpl`.

    Some filters add to their parameters whenever a dataset is created with them, so that what was
    taken from a dataset would not describe another's chunks.
    """
    filters = [dcpl.get_filter(i)[0] for i in range(dcpl.get_nfilters())]
    if all(code in SETTLED_FILTERS for code in filters):
        return h5d.create(loc, None, type_id, space, dcpl)
    chunks = dcpl.get_chunk()
    fmt = IndexFormat.for_chunks(
        len(chunks), math.prod(chunks) * type_id.get_size(), filtered=True, n=0
    )
    image = BlockImage()
    header = add_dataset_header(
        image, type_id=type_id, space=space, dcpl=dcpl, index=UNDEFINED, fmt=fmt
    )
    root = h5py.Group(h5g.open(loc, b"/"))
    name = f"vh5d-{uuid.uuid4()}"
    base = allocate(root, name, len(image)) - root.file.userblock_size
    root[name][...] = np.frombuffer(image.render(base), np.uint8)
    return open_by_address(loc, image.resolve(header, base))


def default_chunks(
    shape: tuple[int, ...], itemsize: int, *, whole: bool = False
) -> tuple[int, ...]:
    """Return the chunk shape of data for which nobody chose one.

    Parameters
    ----------
    shape
        In elements.
    itemsize
        Bytes an element.
    whole
        Whether it is stored again as a whole when it changes: then a chunk that is larger than the
        data costs its size each time.
    """
    most = max(1, min(CHUNK_ELEMENTS, CHUNK_NBYTES // max(1, itemsize)))
    if len(shape) == 1:
        if not whole:
            return (most,)
        return (min(most, max(LEAST_CHUNK_ELEMENTS, 1 << (max(shape[0], 1) - 1).bit_length())),)
    chunks = [max(1, extent) for extent in shape]
    axis = 0
    while math.prod(chunks) > 4 * most:  # halve the axes in turn
        chunks[axis] = -(-chunks[axis] // 2)
        axis = (axis + 1) % len(chunks)
    return tuple(chunks)


def copy_values(source: Any, target: Any, translate: Translate | None = None) -> None:
    """Copy the stored values of a dataset to one of the same type and extent.

    Parameters
    ----------
    source, target
        h5py's DatasetIDs.
    translate
        Where what references point at is in the target's file; needed if there are any.
    """
    dataset = open_dataset(source)
    translator = Translator(source, target, translate) if translate is not None else None
    for _, space in allocated_blocks(dataset):
        if dataset.layout.plain:
            values = dataset.read_plain(space)
            target.write(h5s.create_simple(values.shape), space, values, mtype=dataset.type_id)
            continue
        with native.dataset_values(source, dataset.type_id, space) as read:
            if translator is not None:
                translator.rewrite(dataset.layout, read.address, read.count)
            native.write_dataset(target, space, read)


def contiguous_copy(source: Any, parent: Any) -> Any:
    """Make an anonymous contiguous dataset with the type, extent and values of another.

    Parameters
    ----------
    source
        DatasetID of a dataset of plain elements.
    parent
        Any identifier in the file where it shall be.
    """
    dataset = open_dataset(source)
    dcpl = dataset.dcpl.copy()
    dcpl.set_layout(h5d.CONTIGUOUS)
    dcpl.set_alloc_time(h5d.ALLOC_TIME_DEFAULT)
    space = h5s.create_simple(dataset.info.shape or ())
    made = h5d.create(parent, None, portable(dataset.type_id), space, dcpl)
    space.select_all()
    if space.get_simple_extent_npoints():
        values = dataset.read_plain(space)
        made.write(h5s.create_simple(values.shape), space, values, mtype=dataset.type_id)
    return made


def extent(dataset_id: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a simple dataspace's dimensions and their limits, as HDF5 has them."""
    space = dataset_id.get_space()
    return space.get_simple_extent_dims(), space.get_simple_extent_dims(True)


@dataclass(frozen=True)
class StoredChunks:
    """The chunks of a dataset as they are stored, in row-major order.

    Attributes
    ----------
    scaled
        (n, ndim) uint64, places in the chunk grid.
    masks
        (n,) uint32, filter masks.
    """

    scaled: NDArray[np.uint64]
    masks: NDArray[np.uint32]
    _dataset: Any

    def __len__(self) -> int:
        return len(self.scaled)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the stored bytes of each."""
        chunks = np.array(self._dataset.get_create_plist().get_chunk(), np.uint64)
        for offset in (self.scaled * chunks).tolist():
            yield self._dataset.read_direct_chunk(tuple(offset))[1]


def stored_chunks(dataset_id: Any) -> StoredChunks:
    """Return the allocated chunks of a dataset."""
    extents = chunk_extents(dataset_id)
    return StoredChunks(extents.scaled, extents.masks, dataset_id)


def link_intermediate(obj: Any, group: Any, name: bytes) -> None:
    """Link an object at a path below a group, and make the groups that lead to it."""
    lcpl = h5p.create(h5p.LINK_CREATE)
    lcpl.set_create_intermediate_group(True)
    try:
        name.decode("ascii")
    except UnicodeDecodeError:
        lcpl.set_char_encoding(h5t.CSET_UTF8)
    h5o.link(obj, group, name, lcpl=lcpl)


def stored_as_in_memory(type_id: Any, dtype: np.dtype[Any]) -> bool:
    """Whether elements of a type are stored as an array of a dtype has them: no conversion."""
    return dtype.kind in PLAIN_KINDS and bool(type_id == h5t.py_create(dtype, logical=True))


def is_dataset(opened: Any) -> bool:
    """Whether an open object is a dataset."""
    return isinstance(opened, h5d.DatasetID)
