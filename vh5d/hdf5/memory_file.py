"""HDF5 files that live in memory only, to see what HDF5 writes."""

from __future__ import annotations

import uuid

import h5py

#: Object header version 2, layout message version 4: what every HDF5 since 1.10 reads. Types that
#: need more are allowed what they need.
LIBVER = ("v110", "latest")


def memory_file() -> h5py.File:
    """A new, empty file in memory, to be closed by the caller."""
    # HDF5 refuses to create a file whose name is open already.
    name = f"vh5d-{uuid.uuid4()}"
    return h5py.File(name, "w", driver="core", backing_store=False, block_size=4096, libver=LIBVER)
