"""A source as a scan found it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import h5py

from vh5d.capture.options import CaptureOptions, KeptAs
from vh5d.capture.tiling import Stored, Tiling, choose_encoding
from vh5d.hdf5.address import open_by_address
from vh5d.hdf5.dataset_info import DatasetInfo, Storage
from vh5d.hdf5.extents import Extents, block_extents, block_shape, chunk_extents
from vh5d.hdf5.walk import SourceTree


@dataclass(frozen=True)
class Parsed:
    """A source that HDF5 can open.

    Attributes
    ----------
    file
        It, open in h5py.
    tree
        Its objects.
    stored
        By address, the datasets whose chunks are kept in pools, in walk order.
    """

    file: h5py.File
    tree: SourceTree
    stored: dict[int, Stored]


@dataclass(frozen=True)
class Scan:
    """A source taken apart.

    Attributes
    ----------
    tiling
        Its pieces.
    parsed
        What HDF5 says of it; None when HDF5 cannot open it.
    problems
        What could not be read, one line each.
    exact
        Whether the pieces are the whole file, so that it can be made again bit for bit.
    """

    tiling: Tiling
    parsed: Parsed | None
    problems: tuple[str, ...] = ()
    exact: bool = True

    @property
    def kept_as(self) -> KeptAs:
        """Whether there is a tree with all of the file, the tree alone, or bytes alone."""
        if self.parsed is None:
            return "bytes"
        return "tree" if self.exact else "content"


def stored_datasets(
    file: h5py.File, tree: SourceTree, options: CaptureOptions
) -> dict[int, Stored]:
    """Return, by address, the datasets whose chunks are kept in pools, in walk order."""
    found: dict[int, Stored] = {}
    for each in tree:
        info = each.dataset
        if info is not None and info.storage in {Storage.CHUNKED, Storage.CONTIGUOUS}:
            found[each.address] = _of_dataset(file, each.address, info, options)
    return found


def _of_dataset(
    file: h5py.File, address: int, info: DatasetInfo, options: CaptureOptions
) -> Stored:
    encoding = choose_encoding(
        options.compression, filtered=bool(info.filters), itemsize=info.itemsize
    )
    if info.storage is Storage.CHUNKED:
        return Stored(_chunks(file, address), encoding)
    shape = info.shape or ()
    block = block_shape(shape, info.itemsize)
    extents = block_extents(shape, info.itemsize, int(info.offset or 0))
    return Stored(extents, encoding, block, padded_to=math.prod(block) * info.itemsize)


def _chunks(file: h5py.File, address: int) -> Extents:
    dataset: Any = open_by_address(file.id, address)
    return chunk_extents(dataset)
