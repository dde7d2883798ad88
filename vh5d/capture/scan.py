"""What is in a source: its objects, and where the bytes of each lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py

from vh5d.capture.options import CaptureOptions, KeptAs
from vh5d.capture.tiling import (
    Stored,
    Tiling,
    choose_encoding,
    page_encoding,
    tile,
    tile_like,
)
from vh5d.capture.watchful import WatchfulSource
from vh5d.errors import SourceChangedError
from vh5d.hdf5.address import open_by_address
from vh5d.hdf5.dataset_info import DatasetInfo, Storage
from vh5d.hdf5.extents import Extents, block_extents, block_shape, chunk_extents
from vh5d.hdf5.walk import SourceTree, walk
from vh5d.store.pieces import Pieces


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
    """

    tiling: Tiling
    parsed: Parsed | None
    problems: tuple[str, ...] = ()

    @property
    def kept_as(self) -> KeptAs:
        """Whether there is a tree, or bytes alone."""
        return "bytes" if self.parsed is None else "tree"


@contextmanager
def scan(
    source: WatchfulSource, options: CaptureOptions, known: Callable[[], Pieces | None]
) -> Iterator[Scan]:
    """Take a source apart; it stays open in h5py inside the `with` block.

    Parameters
    ----------
    source
        The source.
    options
        How chunks are to be kept.
    known
        Returns the pieces of its previous version: along these a source is cut that HDF5 cannot
        open.
    """
    opened = _open(source) if options.parse else "its parsing ended processes"
    if isinstance(opened, h5py.File):
        with opened as file:
            found = _parse(source, file, options)
            if isinstance(found, Scan):
                yield found
                return
            problem = found
    else:
        problem = opened
    tiling = tile_like(known(), source.size, page_encoding(options.compression))
    yield Scan(tiling, None, (f"kept by its bytes: {problem}",))


def _open(source: WatchfulSource) -> h5py.File | str:
    """Open a source in h5py, or say why that cannot be."""
    if source.superblock is None:
        return "not an HDF5 file"
    if source.marked and source.writer is None:
        return (
            "marked as being written, though nobody has it open "
            "(its writer crashed; h5clear -s mends a copy)"
        )
    try:
        return h5py.File(source.file, "r")
    except (OSError, RuntimeError) as error:
        return _refused(source, error)


def _parse(source: WatchfulSource, file: h5py.File, options: CaptureOptions) -> Scan | str:
    """Walk a source, or say why that cannot be."""
    try:
        tree = walk(file.id)
        stored = _stored(file, tree, options)
        tiling = tile(source.size, list(stored.values()), page_encoding(options.compression))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        return _refused(source, error)
    source.check_at_rest()
    return Scan(tiling, Parsed(file, tree, stored), tuple(tree.problems))


def _refused(source: WatchfulSource, error: Exception) -> str:
    source.check_at_rest()
    if source.writer is not None:
        raise SourceChangedError(
            f"{source.path}: cannot be read while it is open: {error}",
            hint="try again when it is closed",
        ) from error
    return str(error)


def _stored(file: h5py.File, tree: SourceTree, options: CaptureOptions) -> dict[int, Stored]:
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
