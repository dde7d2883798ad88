"""Filter plugins: shared libraries that HDF5 would load because a file names them."""

from __future__ import annotations

from h5py import h5pl


def forget_plugin_directories() -> None:
    """Have HDF5 load no plugin from any directory; filters that are registered stay.

    ``HDF5_PLUGIN_PATH`` and HDF5's own default name the directories. Chunks are copied as they
    are, so a capture needs no filter but those in HDF5 itself.
    """
    while h5pl.size():
        h5pl.remove(0)
