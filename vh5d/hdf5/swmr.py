"""Reads a file beside the program that writes it, as HDF5's SWMR allows.

A SWMR writer ("single writer, multiple readers") writes a chunk before the index that points to
it, and an index node before the one above it; whoever reads from the top down sees a state that
was. HDF5's reader looks again where a checksum does not fit yet.
"""

from __future__ import annotations

import os

import h5py

from vh5d.errors import UsageError
from vh5d.hdf5.source_file import SourceFile

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
    return h5py.File(f"/proc/self/fd/{source.fileno()}", "r", swmr=True, locking=False)
