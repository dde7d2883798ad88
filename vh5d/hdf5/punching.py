"""Giving bytes of a file back to the file system, the rest staying where it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import numpy as np

from vh5d.hdf5.disk import Disk
from vh5d.hdf5.ranges import Ranges, merge, whole_blocks

Progress = Callable[[int, int], None]

# Network file systems name the size they like to transfer; none has smaller blocks than a page
# whose holes would be lost by asking for pages.
_MOST_BLOCK = 4096
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV}


def returnable(fd: int, ranges: Ranges) -> Ranges:
    """What of some ranges takes space now that could come back: whole blocks that are not holes.

    Parameters
    ----------
    fd
        The file.
    ranges
        (n, 2) of its bytes.
    """
    status = os.fstatvfs(fd)
    block = min(status.f_frsize or status.f_bsize, _MOST_BLOCK)
    found: list[tuple[int, int]] = []
    for start, stop in whole_blocks(merge(ranges), block).tolist():
        found += _data(fd, start, stop)
    return np.array(found, np.int64).reshape(-1, 2)


def taken(fd: int, ranges: Ranges) -> int:
    """How many bytes of some ranges are in no hole, the beginnings and ends of blocks included.

    Parameters
    ----------
    fd
        The file.
    ranges
        (n, 2) of its bytes.
    """
    pieces = (_data(fd, start, stop) for start, stop in merge(ranges).tolist())
    return sum(stop - start for found in pieces for start, stop in found)


def _data(fd: int, start: int, stop: int) -> list[tuple[int, int]]:
    found = []
    while start < stop:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            raise
        if start >= stop:
            break
        end = min(stop, os.lseek(fd, start, os.SEEK_HOLE))
        found.append((start, end))
        start = end
    return found


def punch(disk: Disk, fd: int, ranges: Ranges, progress: Progress | None = None) -> bool:
    """Make holes of some ranges; false if the file system has none.

    Parameters
    ----------
    disk, fd
        The file.
    ranges
        (n, 2) merged.
    progress
        Called with bytes done and bytes in all.
    """
    done, total = 0, int((ranges[:, 1] - ranges[:, 0]).sum())
    for start, stop in ranges.tolist():
        try:
            disk.punch(fd, start, stop - start)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return False
            raise
        done += stop - start
        if progress is not None:
            progress(done, total)
    return True
