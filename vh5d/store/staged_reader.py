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
        """Note where addresses begin; the atomic file has its own descriptor."""
        self._base = int(self.file.userblock_size)

    def close(self) -> None:
        """Close it in h5py; what is staged stays staged."""
        self.file.close()

    def read(self, address: int, nbytes: int) -> bytes:
        """Return bytes at an address, fewer at the end; safe to call from several threads."""
        offset = address + self._base
        there = max(0, self._atomic.size - offset)
        return self._atomic.pread(offset, min(nbytes, there))
