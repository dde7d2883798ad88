"""What is in a source that is being written with SWMR: a state that a SWMR reader sees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import h5py
import numpy as np

from vh5d.capture.options import CaptureOptions
from vh5d.capture.parsed import Parsed, Scan, stored_datasets
from vh5d.capture.tiling import Stored, tile_chunks
from vh5d.capture.watchful import WatchfulSource
from vh5d.errors import SourceChangedError
from vh5d.hdf5.dataset_info import DatasetInfo
from vh5d.hdf5.extents import Extents
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.swmr import open_as_reader
from vh5d.hdf5.walk import SourceTree, walk

#: Attempts to read the metadata, and the pause between two, in seconds: HDF5 itself looks again
#: where a checksum does not fit, so a second attempt is rare.
ATTEMPTS = 10
PAUSE = 0.02


@contextmanager
def scan_growing(source: WatchfulSource, options: CaptureOptions) -> Iterator[Scan]:
    """Take a source apart that grows; it stays open in h5py inside the `with` block.

    Extents are read before chunks are listed, and chunks past the extents are left out: of what
    the writer added meanwhile, nothing is half there.

    Raises
    ------
    SourceChangedError
        It cannot be read at this time.
    """
    said: object = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        source.check_at_rest()
        try:
            file = open_as_reader(source.file)
        except H5PY_ERRORS as error:
            said = error
            continue
        with file:
            found = _look(source, file, options)
            # What cannot be read twice in the same way is not the writer's doing.
            if isinstance(found, Scan) and list(found.problems) in ([], said):
                yield found
                return
            said = list(found.problems) if isinstance(found, Scan) else found
    raise SourceChangedError(
        f"{source.path}: cannot be read while it grows: {said}", hint="try again later"
    )


def _look(source: WatchfulSource, file: h5py.File, options: CaptureOptions) -> Scan | Exception:
    try:
        tree = walk(file.id)
        stored = _stored(file, tree, options)
        tiling = tile_chunks(source.file.stat().st_size, list(stored.values()))
    except (*H5PY_ERRORS, ValueError) as error:
        return error
    return Scan(tiling, Parsed(file, tree, stored), tuple(tree.problems), exact=False)


def _stored(file: h5py.File, tree: SourceTree, options: CaptureOptions) -> dict[int, Stored]:
    return {
        address: _inside(each, tree.objects[address].dataset)
        for address, each in stored_datasets(file, tree, options).items()
    }


def _inside(stored: Stored, info: DatasetInfo | None) -> Stored:
    """Leave out chunks that came after the extent was read."""
    if info is None or info.shape is None or info.chunks is None:
        return stored
    extents = stored.extents
    counts = -(-np.array(info.shape, np.int64) // np.array(info.chunks, np.int64))
    there = (extents.scaled < counts.astype(np.uint64)).all(axis=1)
    if there.all():
        return stored
    kept = Extents(
        extents.scaled[there], extents.offsets[there], extents.nbytes[there], extents.masks[there]
    )
    return Stored(kept, stored.encoding, stored.block, stored.padded_to)
