"""The file that a version was captured from, to be read without restoring it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from vh5d.store.blueprint import Blueprint
from vh5d.store.datasets import Read

CACHED_PIECES = 64


class CapturedFile:
    """A captured file's bytes, as an h5py `fileobj`: ``h5py.File(CapturedFile(…), "r")``.

    Parameters
    ----------
    read
        Reads the store.
    plan
        Where the pieces are.

    Attributes
    ----------
    size
        In bytes.
    error
        What went wrong first while HDF5 read through it; HDF5 was given zeros.
    """

    def __init__(self, read: Read, plan: Blueprint) -> None:
        self.size = plan.image.facts.size
        self.error: Exception | None = None
        self._read_store = read
        self._plan = plan
        self._position = 0
        # Pieces may overlap: of those that begin before an offset, how far they reach.
        ends = plan.pieces.offsets + plan.pieces.nbytes
        self._reach = np.maximum.accumulate(ends) if len(ends) else ends
        self._piece: Callable[[int], bytes] = lru_cache(CACHED_PIECES)(self._decode)

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Bytes at an offset, zeros past the end.

        Raises
        ------
        StoreDamagedError
            A piece cannot be decoded.
        """
        buffer, stop = bytearray(nbytes), min(offset + nbytes, self.size)
        offsets = self._plan.pieces.offsets
        first = int(np.searchsorted(self._reach, offset, side="right"))
        for i in range(first, int(np.searchsorted(offsets, stop, side="left"))):
            start = int(offsets[i])
            data = self._piece(i)
            a, z = max(start, offset), min(start + len(data), stop)
            if a < z:
                buffer[a - offset : z - offset] = data[a - start : z - start]
        return bytes(buffer)

    def _decode(self, i: int) -> bytes:
        plan = self._plan
        stored = self._read_store(int(plan.addresses[i]), int(plan.stored[i]))
        encoding = plan.pieces.encodings[plan.pieces.pools[i]]
        whole: bytes = encoding.decode(stored, int(plan.masks[i]), int(plan.pieces.padded[i]))
        return whole[: int(plan.pieces.nbytes[i])]

    # What h5py calls. An exception here would end the process; a short answer would pass for whole.

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer from the current position."""
        view = memoryview(buffer).cast("B")
        try:
            view[:] = self.pread(self._position, len(view))
        except Exception as error:  # noqa: BLE001 - see above; the reader asks for it
            # Without its frames, which hold HDF5's buffer.
            self.error = self.error or error.with_traceback(None)
            view[:] = bytes(len(view))
        self._position += len(view)
        return len(view)

    def read(self, nbytes: int = -1) -> bytes:
        """Bytes from the current position; to the end without a number."""
        buffer = bytearray(max(0, self.size - self._position) if nbytes < 0 else nbytes)
        self.readinto(buffer)
        return bytes(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start, the current position or the end."""
        self._position = (0, self._position, self.size)[whence] + offset
        return self._position

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def flush(self) -> None:
        """Nothing: HDF5 has nothing to write."""
