"""Object headers of datasets that have a chunk index of ours.

The header is HDF5's own, from a dataset made in memory, but for three messages: the layout names
our index (HDF5 File Format Specification 3.0, IV.A.2.i, version 4, index type 5), the filter
pipeline is written without asking for plugins, and a reference count leaves room for links.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from typing import Any

from h5py import h5d, h5o, h5p, h5s, h5t, h5z

from vh5d.errors import StoreDamagedError
from vh5d.hdf5 import native
from vh5d.hdf5.block_image import UNDEFINED, BlockImage
from vh5d.hdf5.filter_pipeline import pipeline_message
from vh5d.hdf5.header_messages import (
    DATASPACE,
    FILL_VALUE,
    FILTERS,
    LAYOUT,
    NIL,
    REFERENCE_COUNT,
    Message,
    ObjectHeader,
    compose_header,
    parse_header,
)
from vh5d.hdf5.index_format import MERGE_PERCENT, SPLIT_PERCENT, IndexFormat
from vh5d.hdf5.memory_file import memory_file
from vh5d.hdf5.type_version import portable

_CHUNKED = 2
_TREE_INDEX = 5
_SINGLE_CHUNK_FILTERED = 0x02
_CONSTANT = 0x01  # message flag
_ALLOC_TIME = 0x03  # bits of the fill value message's flags
_MOST_ROOM = 0xFFFF
MOST_TEMPLATES = 64


def add_dataset_header(
    image: BlockImage,
    *,
    type_id: h5t.TypeID,
    space: h5s.SpaceID,
    dcpl: h5p.PropDCID,
    index: int,
    fmt: IndexFormat,
    room: int = 0,
) -> int:
    """Stage the object header of a chunked dataset.

    Parameters
    ----------
    image
        Where the header goes.
    type_id
        Element type; a committed type is copied into the header.
    space
        Shape and maximum shape.
    dcpl
        Creation properties, chunked. Filters as an existing dataset has them: see
        `filter_pipeline.settled`.
    index
        Address of the chunk index, staged or not; `UNDEFINED` for a dataset without chunks.
    fmt
        The index's format.
    room
        Bytes kept free for attributes to come, so that they need no further block.

    Returns
    -------
    The header's staged address.

    Raises
    ------
    ValueError
        `dcpl` is not chunked, or `fmt` is of another dataset.
    """
    if dcpl.get_layout() != h5d.CHUNKED:
        raise ValueError("only a chunked dataset has a chunk index")
    template = _templates.find(type_id, space, dcpl)
    layout = template.find(LAYOUT)
    if layout is None:
        raise ValueError("HDF5 made a dataset without a layout message")
    body = _layout_message(layout.body, index, fmt)
    _check_format(body, fmt, filtered=dcpl.get_nfilters() > 0)
    alloc_time = dcpl.get_alloc_time() if index != UNDEFINED else h5d.ALLOC_TIME_INCR
    messages = [_with_alloc_time(m, alloc_time) for m in template.messages if m is not layout]
    if fmt.filtered:
        messages.append(Message(FILTERS, _CONSTANT, pipeline_message(dcpl, type_id.get_size())))
    messages.append(Message(REFERENCE_COUNT, 0, struct.pack("<BI", 0, 1)))
    messages.append(Message(LAYOUT, layout.flags, body))
    address_at = len(messages) - 1
    if room:
        messages.append(Message(NIL, 0, bytes(min(room, _MOST_ROOM))))
    block, places = compose_header(template.flags, template.extra, messages)
    return image.add(block, pointers=(places[address_at] + len(body) - 8,))


def _template(type_id: h5t.TypeID, space: h5s.SpaceID, dcpl: h5p.PropDCID) -> ObjectHeader:
    """HDF5's own header of such a dataset, without filters, times and storage."""
    plist = dcpl.copy()
    if plist.get_nfilters():
        plist.remove_filter(h5z.FILTER_ALL)
    plist.set_obj_track_times(False)
    plist.set_alloc_time(h5d.ALLOC_TIME_INCR)
    with memory_file() as file:
        dataset = h5d.create(file.id, b"d", portable(type_id), space, plist)
        address = h5o.get_info(dataset).addr
        file.flush()
        content = file.id.get_file_image()
    return parse_header(lambda at, nbytes: content[at : at + nbytes], address)


class _Templates:
    """Headers that HDF5 made, for the next dataset that differs in its extent only."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], ObjectHeader] = {}

    def find(self, type_id: h5t.TypeID, space: h5s.SpaceID, dcpl: h5p.PropDCID) -> ObjectHeader:
        """Return HDF5's own header of such a dataset."""
        # Not `dcpl.equal`: that does not see the chunk shape.
        key = (
            bytes(type_id.encode()),
            space.get_simple_extent_dims(maxdims=True),
            native.encoded_properties(dcpl),
            native.chunk_options(dcpl),
        )
        found = self._known.get(key)
        if found is None:
            found = _template(type_id, space, dcpl)
            if len(self._known) >= MOST_TEMPLATES:
                self._known.clear()
            self._known[key] = found
        dims = space.get_simple_extent_dims()
        messages = tuple(_with_extent(message, dims) for message in found.messages)
        return ObjectHeader(found.flags, found.extra, messages)


_templates = _Templates()


def _with_extent(message: Message, dims: tuple[int, ...]) -> Message:
    """A dataspace message (IV.A.2.b, version 2) of another extent."""
    if message.kind != DATASPACE:
        return message
    if message.body[:2] != bytes([2, len(dims)]):
        raise ValueError("HDF5 made a dataspace message of another version")
    body = message.body[:4] + struct.pack(f"<{len(dims)}Q", *dims)
    return Message(message.kind, message.flags, body + message.body[len(body) :], message.order)


def _with_alloc_time(message: Message, alloc_time: int) -> Message:
    """A fill value message (IV.A.2.f, version 3) with another time of allocation."""
    if message.kind != FILL_VALUE or alloc_time == h5d.ALLOC_TIME_DEFAULT:
        return message
    body = bytearray(message.body)
    body[1] = (body[1] & ~_ALLOC_TIME) | alloc_time
    return Message(message.kind, message.flags, bytes(body), message.order)


def _layout_message(body: bytes, index: int, fmt: IndexFormat) -> bytes:
    """A chunked layout message, version 4, that names another index.

    HDF5 2.0 writes version 5 for filtered chunks of a source of its own format, and remembers that
    in the creation properties: it differs in how indexes encode the sizes of chunks, not up to the
    dimensions.
    """
    if body[0] not in {4, 5} or body[1] != _CHUNKED:
        raise ValueError("HDF5 made a layout message of another version")
    end = _dimensions_end(body)
    tree = struct.pack("<BIBBQ", _TREE_INDEX, fmt.node_size, SPLIT_PERCENT, MERGE_PERCENT, index)
    return bytes([4, _CHUNKED, body[2] & ~_SINGLE_CHUNK_FILTERED]) + body[3:end] + tree


def _dimensions_end(body: bytes) -> int:
    return 5 + body[3] * body[4]


def _dimensions(body: bytes) -> list[int]:
    """Chunk shape of a version-4 layout message, and the element size at its end."""
    width, end = body[4], _dimensions_end(body)
    return [int.from_bytes(body[i : i + width], "little") for i in range(5, end, width)]


def _check_format(layout: bytes, fmt: IndexFormat, *, filtered: bool) -> None:
    dimensions = _dimensions(layout)
    actual = (len(dimensions) - 1, prod(dimensions), filtered)
    if actual != (fmt.ndim, fmt.chunk_nbytes, fmt.filtered):
        raise ValueError(
            f"index format (rank {fmt.ndim}, {fmt.chunk_nbytes} bytes a chunk, filtered: "
            f"{fmt.filtered}) does not fit the dataset's {actual}"
        )


def chunk_index_of(read: Callable[[int, int], bytes], address: int) -> tuple[int, IndexFormat]:
    """The chunk index of a dataset whose header we made.

    Parameters
    ----------
    read
        `read(address, nbytes)`, of the file or of what is staged.
    address
        The dataset's object header.

    Returns
    -------
    Address of the index, `UNDEFINED` when the dataset has no chunks, and the index's format.

    Raises
    ------
    StoreDamagedError
        There is no such header, or its dataset has another kind of index.
    """
    # Attributes that HDF5 added may lie in blocks elsewhere; `room` keeps these messages together.
    header = parse_header(read, address, until=LAYOUT)
    layout = header.find(LAYOUT)
    body = layout.body if layout else b""
    if body[:2] != bytes([4, _CHUNKED]) or body[_dimensions_end(body)] != _TREE_INDEX:
        raise StoreDamagedError(f"the dataset at {address} has no version-2 B-tree index")
    *shape, element_size = _dimensions(body)
    node_size, _, _, index = struct.unpack_from("<IBBQ", body, _dimensions_end(body) + 1)
    filtered = header.find(FILTERS) is not None
    fmt = IndexFormat(len(shape), prod(shape) * element_size, filtered, node_size)
    return index, fmt
