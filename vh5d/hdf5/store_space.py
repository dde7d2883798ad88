"""What a store takes on the disk, and what comes back of it: holes, which need no journal."""

from __future__ import annotations

import numpy as np

from vh5d.hdf5 import punching
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import refusals
from vh5d.hdf5.punching import Progress
from vh5d.hdf5.ranges import Ranges


def returnable(store: AtomicFile, ranges: Ranges) -> Ranges:
    """What of some ranges, whole blocks that are not holes yet, takes space on the disk.

    Parameters
    ----------
    store
        Open for writing.
    ranges
        (n, 2) absolute offsets in the file.
    """
    with refusals(store.path):
        return punching.returnable(store.fd, ranges)


def taken(store: AtomicFile, ranges: Ranges) -> int:
    """How many bytes of some ranges are in no hole.

    Parameters
    ----------
    store
        Open for writing.
    ranges
        (n, 2) absolute offsets in the file.
    """
    with refusals(store.path):
        return punching.taken(store.fd, ranges)


def has_holes(store: AtomicFile) -> bool:
    """Whether the file system can give back parts of a file."""
    past_the_end = store.disk.size(store.fd)
    with refusals(store.path):
        return punching.punch(store.disk, store.fd, np.array([[past_the_end, past_the_end + 1]]))


def return_space(store: AtomicFile, ranges: Ranges, progress: Progress | None = None) -> bool:
    """Give bytes that nothing in the committed state names back to the file system.

    They read as zeros then. An interruption leaves some of it undone, and no harm.

    Parameters
    ----------
    store
        Open for writing.
    ranges
        (n, 2) merged, absolute offsets below its `base`.
    progress
        Called with bytes done and bytes in all.

    Returns
    -------
    False if the file system has no holes.

    Raises
    ------
    StoreWriteError
        If the disk refuses.
    StoreBusyError
        If somebody read the store all through the time allowed.
    StoreConflictError
        If somebody else changed the store since the last commit.
    """
    store.check()
    with refusals(store.path), store.exclusive():
        return punching.punch(store.disk, store.fd, ranges, progress)
