"""Space inside a file that HDF5 has freed, and forgets when the file is closed."""

from __future__ import annotations

from typing import Any

import numpy as np

from vh5d.hdf5 import native
from vh5d.hdf5.ranges import Ranges, merge, of_extents


def freed_space(file_id: Any) -> Ranges:
    """Return what was freed since a file was opened for writing, and is free still.

    Parameters
    ----------
    file_id
        h5py's FileID, flushed: what is dirty may find its place only when it is written.

    Returns
    -------
    (n, 2) merged ranges, relative to the end of the userblock.
    """
    sections = np.array(native.free_sections(file_id), np.uint64).reshape(-1, 2)
    return merge(of_extents(sections[:, 0], sections[:, 1]))
