"""What is in a source: its objects, and where the bytes of each lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import h5py

from vh5d.capture.growing import scan_growing
from vh5d.capture.options import CaptureOptions
from vh5d.capture.parsed import Parsed, Scan, stored_datasets
from vh5d.capture.tiling import page_encoding, tile, tile_chunks, tile_like
from vh5d.capture.watchful import WatchfulSource
from vh5d.errors import SourceBusyError, SourceChangedError
from vh5d.hdf5.walk import walk
from vh5d.store.pieces import Pieces


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
    if source.growing and not options.parse:
        raise SourceBusyError(
            f"{source.path}: grows, and its parsing ended processes",
            hint="it is kept by its bytes when it is closed",
        )
    if source.growing:
        with scan_growing(source, options) as found_growing:
            yield found_growing
        return
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
        stored = stored_datasets(file, tree, options)
        if options.exact:
            tiling = tile(source.size, list(stored.values()), page_encoding(options.compression))
        else:
            tiling = tile_chunks(source.size, list(stored.values()))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        return _refused(source, error)
    source.check_at_rest()
    parsed = Parsed(file, tree, stored)
    return Scan(tiling, parsed, tuple(tree.problems), exact=options.exact)


def _refused(source: WatchfulSource, error: Exception) -> str:
    source.check_at_rest()
    if source.writer is not None:
        raise SourceChangedError(
            f"{source.path}: cannot be read while it is open: {error}",
            hint="try again when it is closed",
        ) from error
    if source.superblock is not None and source.superblock.eof > source.size:
        return f"cut off: {source.size:,} of {source.superblock.eof:,} bytes are there"
    return str(error)
