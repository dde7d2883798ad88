"""The bytes of a store that somebody else opened: reached through h5py, whatever its driver.

What vh5d writes lies in the datasets of `/spaces`, and so does all that it reads of it again:
chunk indexes and object headers. So an address is looked up among these datasets.
"""

from __future__ import annotations

from bisect import bisect_right

import h5py

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.handles import ByteRange, Number
from vh5d.store import layout

# Of the datasets of `/spaces`:
MOST_OPEN = 64
AT_ONCE = 64


class H5pyMedium:
    """Reads and writes the content of `/spaces`.

    Parameters
    ----------
    file
        The store, open in h5py.
    """

    def __init__(self, file: h5py.File) -> None:
        self._spaces = file[layout.SPACES]
        self._end = Number(self._spaces.id, b"next")
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._names: list[str] = []
        self._known: range | None = None  # numbers of the spaces that were looked at
        self._open: dict[str, ByteRange] = {}
        self._new: dict[str, ByteRange] = {}

    def pread(self, address: int, nbytes: int) -> bytes:
        """Return bytes at an absolute file address.

        Raises
        ------
        StoreDamagedError
            The address is not in `/spaces`.
        """
        name, start = self._find(address)
        return self._opened(name).read(start, nbytes)

    def pwrite_staged(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes where HDF5 allocated room for them."""
        name, start = self._find(address)
        # Not one that stays open: it would keep the bytes in a buffer, and HDF5 shall open what
        # they are.
        self._open.pop(name, None)
        space = self._new.pop(name, None) or ByteRange.open(self._spaces.id, name.encode())
        space.write(start, data)

    def _find(self, address: int) -> tuple[str, int]:
        while True:
            at = bisect_right(self._starts, address) - 1
            if at >= 0 and address < self._ends[at]:
                return self._names[at], address - self._starts[at]
            if not self._look():
                raise StoreDamagedError(f"the store has nothing of vh5d's at {address}")

    def _look(self) -> bool:
        """Take note of spaces that are not known yet, the newest first; tell whether any are."""
        end = self._end.read()
        if self._known is None:
            self._known = range(end, end)
        numbers = range(self._known.stop, end)
        if not numbers:
            numbers = range(max(0, self._known.start - AT_ONCE), self._known.start)
        for name in map(str, numbers):
            if self._spaces.id.links.exists(name.encode()):
                self._note(name)
        if not numbers:
            return False
        self._known = range(min(self._known.start, numbers.start), end)
        return True

    def _note(self, name: str) -> None:
        space = ByteRange.open(self._spaces.id, name.encode())
        start = space.offset
        if start is not None:  # None for chunks taken over from versioned-hdf5
            at = bisect_right(self._starts, start)
            self._starts.insert(at, start)
            self._ends.insert(at, start + len(space))
            self._names.insert(at, name)
            self._new = {name: space}

    def _opened(self, name: str) -> ByteRange:
        space = self._open.get(name)
        if space is None:
            if len(self._open) >= MOST_OPEN:
                del self._open[next(iter(self._open))]
            space = self._open[name] = ByteRange.open(self._spaces.id, name.encode())
        return space
