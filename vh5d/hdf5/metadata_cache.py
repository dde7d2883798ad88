"""How much of a file's metadata HDF5 keeps in memory."""

from __future__ import annotations

from typing import Any

_DEFAULT_NBYTES = 2 << 20
_LEAN_NBYTES = 512 << 10


def begin_lean(file_id: Any) -> None:
    """Have a file's cache of metadata begin small; HDF5 lets it grow when that is worth it.

    Every flush goes through all that the cache has: with the 2 MiB that HDF5 begins with it takes
    2 ms after some hundred versions, with 512 KiB a quarter of that. A cache of any other size is
    somebody's choice, or what HDF5 found necessary, and left alone.

    Parameters
    ----------
    file_id
        h5py's FileID.
    """
    config = file_id.get_mdc_config()
    if config.initial_size != _DEFAULT_NBYTES or file_id.get_mdc_size()[0] != _DEFAULT_NBYTES:
        return
    config.set_initial_size = True
    config.initial_size = _LEAN_NBYTES
    config.min_size = min(config.min_size, _LEAN_NBYTES)
    file_id.set_mdc_config(config)
