"""Reads a file beside the program that writes it, as HDF5's SWMR allows.

A SWMR writer ("single writer, multiple readers") writes a chunk before the index that points to
it, and an index node before the one above it; whoever reads from the top down sees a state that
was. HDF5's reader looks again where a checksum does not fit yet.
"""

from __future__ import annotations

import os

import h5py
from h5py import h5f, h5p

from vh5d.errors import UsageError
from vh5d.hdf5.native import set_read_attempts
from vh5d.hdf5.source_file import SourceFile

#: How often HDF5 reads again what does not fit its checksum. It waits a nanosecond after the first
#: time and doubles that: two milliseconds in all. Of its own 100 a damaged file never sees the end.
READ_ATTEMPTS = 20

_LOCKING = "HDF5_USE_FILE_LOCKING"


def open_as_reader(source: SourceFile) -> h5py.File:
    """Open a file that a SWMR writer has open; it is not locked.

    HDF5 gets the very file that `source` has open, whatever has its name by now.

    Raises
    ------
    OSError, RuntimeError
        HDF5 cannot open it, or cannot do so now.
    UsageError
        The environment makes HDF5 lock all files.
    """
    if os.environ.get(_LOCKING, "FALSE").upper() not in {"FALSE", "0"}:
        # It counts for more than what a program says (H5F_open).
        raise UsageError(
            f"{source.path}: {_LOCKING} is set, and HDF5 would lock the file",
            hint=f"unset {_LOCKING}",
        )
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_file_locking(False, False)
    set_read_attempts(access, READ_ATTEMPTS)
    name = f"/proc/self/fd/{source.fileno()}".encode()
    return h5py.File(h5f.open(name, h5f.ACC_RDONLY | h5f.ACC_SWMR_READ, access))
