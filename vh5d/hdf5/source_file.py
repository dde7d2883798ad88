"""A source, read without ever locking it.

h5py opens it through the `fileobj` driver, which takes no lock. That driver does not look at the
superblock's consistency flags either: ask `SourceFile.superblock` before trusting what it reads.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from vh5d.errors import SourceChangedError, SourceError, SourceMissingError, SourceUnreadableError
from vh5d.hdf5.kept_error import without_frames
from vh5d.hdf5.superblock import Superblock, find_superblock

_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO}


class SourceFile:
    """A regular file, open for reading; an h5py `fileobj`: ``h5py.File(source_file, "r")``.

    Parameters
    ----------
    path
        The source; symbolic links are followed.

    Attributes
    ----------
    size
        Its size in bytes when it was opened.
    error
        What went wrong first while HDF5 read through it; HDF5 was given zeros. Check it when HDF5
        fails, and when it does not.

    Raises
    ------
    SourceMissingError
        If there is no regular file of that name.
    SourceUnreadableError
        If it may not, or cannot, be opened.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.error: BaseException | None = None
        self._position = 0
        self._fd = -1
        try:
            # Looked at before it is opened: opening a device may do something.
            _check_regular(self.path, self.path.stat())
            # Without O_NONBLOCK, a FIFO that took the name meanwhile would block.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            self._fd = os.open(self.path, flags)
            found = os.fstat(self._fd)
            _check_regular(self.path, found)
        except OSError as error:
            self.close()
            raise self._explain(error) from error
        except SourceError:
            self.close()
            raise
        self.size = found.st_size

    def stat(self) -> os.stat_result:
        """What the file system says of the open file now."""
        try:
            return os.fstat(self._fd)
        except OSError as error:
            raise self._explain(error) from error

    def fileno(self) -> int:
        """The descriptor it is read through."""
        return self._fd

    def real_path(self) -> Path:
        """Where the open file is, as the kernel knows it; it may have moved since."""
        try:
            return Path(f"/proc/self/fd/{self._fd}").readlink()
        except OSError:
            return Path(os.path.realpath(self.path))

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Exactly so many bytes at an offset; from several threads at once, if they like.

        Raises
        ------
        SourceChangedError
            If the file ends before.
        SourceUnreadableError
            If the disk or the network fails.
        """
        buffer = bytearray(nbytes)
        self.pread_into(offset, memoryview(buffer))
        return bytes(buffer)

    def pread_into(self, offset: int, view: memoryview) -> None:
        """Fill a buffer from an offset; see `pread`."""
        if self._read(offset, view) < len(view):
            raise self._shrunk()

    def superblock(self) -> Superblock | None:
        """The superblock as it is now, with its consistency flags; None if this is not HDF5."""

        def read(offset: int, nbytes: int) -> bytes:
            buffer = bytearray(nbytes)
            return bytes(buffer[: self._read(offset, memoryview(buffer))])

        return find_superblock(read, self.size)

    def _read(self, offset: int, view: memoryview) -> int:
        done = 0
        try:
            while done < len(view):
                got = os.preadv(self._fd, [view[done:]], offset + done)
                if got == 0:
                    break
                done += got
        except OSError as error:
            raise self._explain(error) from error
        return done

    def _shrunk(self) -> SourceChangedError:
        return SourceChangedError(
            f"{self.path} became shorter while it was read", hint="try again when it is at rest"
        )

    def _explain(self, error: OSError) -> SourceError:
        if error.errno in _NOT_THERE:
            return SourceMissingError(f"{self.path} does not exist", hint="check the path")
        text = error.strerror or type(error).__name__
        return SourceUnreadableError(f"cannot read {self.path}: {text}", hint=_hint(error.errno))

    # What h5py calls. An exception here would end the process; a short answer would pass for whole.

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer from the current position: zeros past the end, or where reading failed."""
        view = memoryview(buffer).cast("B")
        at, done = self._position, 0
        try:
            done = self._read(at, view)
            if at + done < min(self.size, at + len(view)):
                self.error = self.error or self._shrunk()
        except BaseException as error:  # noqa: BLE001 - see above; the reader asks for it
            self._keep(error)
        view[done:] = bytes(len(view) - done)
        self._position += len(view)
        return len(view)

    def read(self, nbytes: int = -1) -> bytes:
        """Bytes from the current position, as `readinto`; to the end without a number."""
        if nbytes < 0:
            nbytes = max(0, self.size - self._position)
        buffer = bytearray(nbytes)
        self.readinto(buffer)
        return bytes(buffer)

    def _keep(self, error: BaseException) -> None:
        self.error = self.error or without_frames(error)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start, the current position or the end."""
        self._position = (0, self._position, self.size)[whence] + offset
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position

    def flush(self) -> None:
        """Nothing: HDF5 has nothing to write."""

    def close(self) -> None:
        """Close the file; reading then fails."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SourceMissingError(f"{path} is not a regular file", hint="name an HDF5 file")


def _hint(number: int | None) -> str:
    if number in {errno.EACCES, errno.EPERM}:
        return "give this user the right to read it"
    if number in {errno.ESTALE, errno.EIO, errno.ETIMEDOUT}:
        return "check the disk or the network it comes over"
    return "try again later"
