"""What is staged of a store, as the file object that h5py's `fileobj` driver reads and writes.

Two rules bind what HDF5 calls: never raise (h5py would die with a segmentation fault, so the first
error is kept and the commit refused), and never read or write short (HDF5 takes it for whole).
"""

from __future__ import annotations

import os
from pathlib import Path

from vh5d.errors import StoreWriteError
from vh5d.hdf5.disk import Buffer, Disk, byte_view, refusals, write_error
from vh5d.hdf5.kept_error import without_frames
from vh5d.hdf5.staged_file import StagedFile


class FileObject:
    """A staged file, with a position and the first error.

    Parameters
    ----------
    path
        What errors call it.
    disk, fd
        The file, open for reading and writing.
    base
        Committed end in bytes.

    Attributes
    ----------
    path
        The file, symbolic links resolved.
    error
        What went wrong first since staging began.
    """

    def __init__(self, path: Path, disk: Disk, fd: int, base: int) -> None:
        self.path = path
        self.error: BaseException | None = None
        self._disk = disk
        self._fd = fd
        self._begin(base)

    def _begin(self, base: int) -> None:
        """Stage anew, over what is committed up to `base`."""
        self._staged = StagedFile(self._disk, self._fd, base)
        self._position = 0

    @property
    def base(self) -> int:
        """Committed end in bytes; what lies below is on the disk as it was committed."""
        return self._staged.base

    @property
    def size(self) -> int:
        """Size in bytes as staged."""
        return self._staged.size

    # Our own access, beside HDF5's.

    def pread(self, address: int, nbytes: int) -> bytes:
        """Staged bytes, zeros past the end; may be called from several threads.

        Raises
        ------
        StoreWriteError
            If the disk cannot be read.
        """
        buffer = bytearray(nbytes)
        with refusals(self.path):
            self._staged.read_into(memoryview(buffer), address)
        return bytes(buffer)

    def pwrite_staged(self, address: int, data: Buffer) -> None:
        """Write bytes where HDF5 allocated room for them; may be called from several threads.

        Parameters
        ----------
        address
            Absolute offset in the file. Room past the committed end costs no memory.
        data
            Any contiguous buffer.

        Raises
        ------
        StoreWriteError
            If the disk refuses; the commit is then refused too.
        """
        try:
            self._staged.write(byte_view(data), address)
        except OSError as error:
            self.error = self.error or error
            raise write_error(self.path, error) from error

    # What h5py calls.

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer from the current position, with zeros past the end."""
        view = memoryview(buffer).cast("B")
        try:
            self._staged.read_into(view, self._position)
        except BaseException as error:  # noqa: BLE001 - kept for commit
            self._keep(error)
            view[:] = bytes(len(view))
        self._position += len(view)
        return len(view)

    def read(self, nbytes: int = -1) -> bytes:
        """Bytes from the current position, as `readinto`; to the end without a number."""
        if nbytes < 0:
            nbytes = max(0, self.size - self._position)
        buffer = bytearray(nbytes)
        self.readinto(buffer)
        return bytes(buffer)

    def write(self, data: Buffer) -> int:
        """Stage bytes at the current position."""
        view = byte_view(data)
        try:
            self._staged.write(view, self._position)
        except BaseException as error:  # noqa: BLE001 - kept for commit
            self._keep(error)
        self._position += len(view)
        self._staged.size = max(self._staged.size, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Stage a new size: the current position without a number."""
        size = self._position if size is None else size
        try:
            self._staged.truncate(size)
        except BaseException as error:  # noqa: BLE001 - kept for commit
            self._keep(error)
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start, the current position or the end."""
        self._position = (0, self._position, self.size)[whence] + offset
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position

    def flush(self) -> None:
        """Nothing: only `commit` makes anything durable."""

    # What went wrong.

    def _keep(self, error: BaseException) -> None:
        self.error = self.error or without_frames(error)

    def explain(self, error: BaseException | None) -> None:
        """Raise what the disk refused, if it did, instead of an exception that came of it.

        HDF5 is given zeros where the disk cannot be read, and then finds the store damaged.

        Raises
        ------
        StoreWriteError
            If the disk refused anything since staging began.
        """
        if isinstance(error, StoreWriteError) or not isinstance(error, Exception):
            return
        if isinstance(self.error, OSError):
            raise write_error(self.path, self.error) from error
