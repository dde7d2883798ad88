"""A store as it would be if what is staged were committed."""

from __future__ import annotations

import h5py

from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.store.reader import StoreReader


class StagedReader(StoreReader):
    """Reads what is staged in an atomic file.

    Parameters
    ----------
    atomic
        The file; not open in h5py otherwise.
    """

    def __init__(self, atomic: AtomicFile) -> None:
        self._atomic = atomic
        super().__init__(atomic.path, h5py.File(atomic, "r"))

    def __post_init__(self) -> None:
        """Nothing: the atomic file has its descriptor."""

    def close(self) -> None:
        """Close it in h5py; what is staged stays staged."""
        self.file.close()

    def read(self, address: int, nbytes: int) -> bytes:
        """Return bytes of the store, fewer at its end; safe to call from several threads."""
        there = max(0, self._atomic.size - address)
        return self._atomic.pread(address, min(nbytes, there))
