"""The bytes of a store that somebody else opened: reached through h5py, whatever its driver.

What vh5d writes lies in the datasets of `/spaces`, and so does all that it reads of it again:
chunk indexes and object headers. So an address is looked up among these datasets.
"""

from __future__ import annotations

from bisect import bisect_right

import h5py
import numpy as np

from vh5d.errors import StoreDamagedError
from vh5d.store import layout


class H5pyMedium:
    """Reads and writes the content of `/spaces`.

    Parameters
    ----------
    file
        The store, open in h5py.
    """

    def __init__(self, file: h5py.File) -> None:
        self._spaces = file[layout.SPACES]
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._names: list[str] = []
        self._next = 0

    def pread(self, address: int, nbytes: int) -> bytes:
        """Return bytes at an absolute file address.

        Raises
        ------
        StoreDamagedError
            The address is not in `/spaces`.
        """
        space, start = self._find(address)
        data: bytes = space[start : start + nbytes].tobytes()
        return data

    def pwrite_staged(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes where HDF5 allocated room for them."""
        space, start = self._find(address)
        values = np.frombuffer(data, np.uint8)
        space[start : start + len(values)] = values

    def _find(self, address: int) -> tuple[h5py.Dataset, int]:
        for attempt in range(2):
            at = bisect_right(self._starts, address) - 1
            if at >= 0 and address < self._ends[at]:
                return self._spaces[self._names[at]], address - self._starts[at]
            if not attempt:
                self._look()
        raise StoreDamagedError(f"the store has nothing of vh5d's at {address}")

    def _look(self) -> None:
        """Take note of spaces that are not known yet."""
        end = int(self._spaces.attrs["next"])
        numbers = map(str, range(self._next, end))
        for name in numbers if self._next else list(self._spaces):
            space = self._spaces.get(name)
            offset = space.id.get_offset() if space is not None else None
            if offset is not None:  # None for chunks taken over from versioned-hdf5
                start = int(offset)
                at = bisect_right(self._starts, start)
                self._starts.insert(at, start)
                self._ends.insert(at, start + int(space.shape[0]))
                self._names.insert(at, name)
        self._next = end
