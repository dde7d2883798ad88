"""Datasets that share another dataset's chunks, in a file of plain h5py's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from vh5d.hdf5.address import link, open_by_address
from vh5d.hdf5.block_image import STAGED, BlockImage
from vh5d.hdf5.chunk_index import ChunkRecords, IndexFormat, build
from vh5d.hdf5.object_header import add_dataset_header


def chunks_of(dataset: h5py.Dataset) -> ChunkRecords:
    """Where a dataset's chunks lie, as HDF5 says."""
    dataset.file.flush()
    found = []
    dataset.id.chunk_iter(
        lambda c: found.append((c.chunk_offset, c.byte_offset, c.size, c.filter_mask))
    )
    offsets = np.array([f[0] for f in found], np.uint64).reshape(-1, dataset.ndim)
    columns = [np.array([f[i] for f in found], np.uint64) for i in (1, 2, 3)]
    # chunk_iter counts from the beginning of the file, an index from the end of the userblock.
    columns[0] -= np.uint64(dataset.file.userblock_size)
    return ChunkRecords.from_unsorted(offsets // np.array(dataset.chunks, np.uint64), *columns)


def format_of(dataset: h5py.Dataset, n: int) -> IndexFormat:
    """The format for an index of `n` of a dataset's chunks."""
    nbytes = int(np.prod(dataset.chunks)) * dataset.id.get_type().get_size()
    filtered = dataset.id.get_create_plist().get_nfilters() > 0
    return IndexFormat.for_chunks(dataset.ndim, nbytes, filtered=filtered, n=n)


def place(file: h5py.File, image: BlockImage) -> int:
    """Write an image as the content of a new dataset; where it begins."""
    space = file.create_dataset(f"space-{len(file)}", (len(image),), "u1")
    space[:1] = 0
    base = space.id.get_offset() - file.userblock_size
    space[:] = np.frombuffer(image.render(base), np.uint8)
    file.flush()
    return base


def reader(file: h5py.File, image: BlockImage | None = None) -> Callable[[int, int], bytes]:
    """`read(address, nbytes)` of a file on disk, and of what is staged."""
    path, userblock = Path(file.filename), file.userblock_size

    def read(address: int, nbytes: int) -> bytes:
        if image is not None and address >= STAGED:
            return image.read(address, nbytes)
        with path.open("rb") as raw:
            raw.seek(address + userblock)
            return raw.read(nbytes)

    return read


def share(
    group: h5py.Group, name: str, like: h5py.Dataset, records: ChunkRecords | None = None, **header
) -> h5py.Dataset:
    """Link a dataset into `group` that is as `like` is and has `records`, or all its chunks."""
    records = chunks_of(like) if records is None else records
    fmt = format_of(like, len(records))
    image = BlockImage()
    staged = add_dataset_header(
        image,
        **{
            "type_id": like.id.get_type(),
            "space": like.id.get_space(),
            "dcpl": like.id.get_create_plist(),
            "index": build(records, fmt, image),
            "fmt": fmt,
            **header,
        },
    )
    address = image.resolve(staged, place(group.file, image))
    link(open_by_address(group.file.id, address), group.id, name.encode())
    return group[name]
