"""Every system call that writes a store or makes it durable.

One small class, so that a simulated disk can stand in for the real one and fail, or lose power, at
any of them. Locks are not here: they are the kernel's, and no disk loses them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreWriteError, VH5DError

Buffer = bytes | bytearray | memoryview | NDArray[Any]
"""Contiguous memory."""

# linux/falloc.h
_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02

# linux/fcntl.h, linux/fs.h
_AT_FDCWD = -100
_RENAME_NOREPLACE = 0x01

_HINTS = {
    errno.ENOSPC: "free space on its disk, then try again",
    errno.EDQUOT: "free some of the owner's quota, then try again",
    errno.EROFS: "its file system is mounted read-only",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
    errno.EIO: "check the disk and the kernel's log",
    errno.ENOENT: "create its directory first",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def byte_view(data: Buffer) -> memoryview:
    """The bytes of a contiguous buffer, not copied."""
    view = data.data if isinstance(data, np.ndarray) else memoryview(data)
    # A view with a zero in its shape cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")


def write_error(path: Path, error: OSError) -> StoreWriteError:
    """What to tell of a write that the operating system refused.

    Parameters
    ----------
    path
        The store, whatever file beside it the call was for.
    error
        What the call raised.
    """
    text = error.strerror or type(error).__name__
    return StoreWriteError(
        f"cannot write {path}: {text}", hint=_HINTS.get(error.errno or 0, "try again later")
    )


@contextlib.contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside into a `StoreWriteError` of that store."""
    try:
        yield
    except VH5DError:
        raise
    except OSError as error:
        raise write_error(path, error) from error


class Disk:
    """The real disk. All offsets and sizes are in bytes; every method raises OSError."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Open a file, or create it if `flags` say so; the descriptor is not inherited.

        Not through a symbolic link: paths are resolved before, and a link that took the name since
        was put there by somebody who wants another file written.
        """
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW, mode)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """Physical size of the file."""
        return os.fstat(fd).st_size

    def preadv(self, fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        """Read once, perhaps fewer bytes than asked for; 0 at the end of the file."""
        return os.preadv(fd, buffers, offset)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        """Write once, perhaps fewer bytes than given."""
        return os.pwrite(fd, data, offset)

    def ftruncate(self, fd: int, size: int) -> None:
        """Cut or extend a file."""
        os.ftruncate(fd, size)

    def punch(self, fd: int, offset: int, nbytes: int) -> None:
        """Make a range read as zeros and give its blocks back; the size stays."""
        libc = ctypes.CDLL(None, use_errno=True)
        mode = ctypes.c_int(_FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE)
        # musl has the one name, for 64-bit offsets everywhere.
        fallocate = getattr(libc, "fallocate64", None) or libc.fallocate
        while fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(nbytes)) != 0:
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))

    def fsync(self, fd: int) -> None:
        """Make a file durable with everything about it."""
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        """Make a file's content and size durable."""
        os.fdatasync(fd)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; FileExistsError if the name is taken."""
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file over whatever has the name."""
        os.rename(source, target)  # noqa: PTH104 - one system call, and its own errno

    def rename_new(self, source: Path, target: Path) -> None:
        """Rename a file to a name that is free; FileExistsError if it is taken.

        Where the file system cannot do that in one step, somebody else's file that takes the name
        in the same instant is replaced.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        renameat2 = getattr(libc, "renameat2", None)
        paths = (os.fsencode(source), os.fsencode(target))
        if renameat2 is not None and (
            renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_NOREPLACE) == 0
        ):
            return
        number = ctypes.get_errno() if renameat2 is not None else errno.ENOSYS
        if number not in {errno.ENOSYS, errno.EINVAL}:
            raise OSError(number, os.strerror(number))
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(source, target)  # noqa: PTH104 - as above

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        os.unlink(path)  # noqa: PTH108 - one system call, and its own errno

    def sync_directory(self, directory: Path) -> None:
        """Make the names in a directory durable."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            # Some network and FUSE file systems have no such call; names are durable there at once.
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(fd)


def close_synced(disk: Disk, fd: int) -> None:
    """Close a file that was synced, or only read: an error then tells nothing."""
    with contextlib.suppress(OSError):
        disk.close(fd)


def read_fully(disk: Disk, fd: int, view: memoryview, offset: int) -> None:
    """Fill `view` from `offset`; what lies past the end of the file is zeros."""
    done = 0
    while done < len(view):
        got = disk.preadv(fd, [view[done:]], offset + done)
        if got == 0:
            view[done:] = bytes(len(view) - done)
            return
        done += got


def write_fully(disk: Disk, fd: int, view: memoryview, offset: int) -> None:
    """Write all of `view` at `offset`."""
    done = 0
    while done < len(view):
        got = disk.pwrite(fd, view[done:], offset + done)
        if got == 0:
            raise OSError(errno.EIO, "the disk takes no more bytes")
        done += got


def zero_range(disk: Disk, fd: int, offset: int, nbytes: int) -> None:
    """Make a range read as zeros: a hole where the file system can, written zeros elsewhere."""
    try:
        disk.punch(fd, offset, nbytes)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
            raise
        zeros = memoryview(bytes(min(nbytes, 1 << 20)))
        for at in range(0, nbytes, len(zeros)):
            write_fully(disk, fd, zeros[: nbytes - at], offset + at)
