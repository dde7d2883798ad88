"""One writer a store: the lock file `<store>.lock`.

The file is locked with flock from the first staged byte to the end, and says who writes. It is
removed while the lock is still held, so somebody who opened it before and gets the lock after
finds that the name is gone, or is another file's, and starts again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from vh5d.hdf5.access import share_alike
from vh5d.hdf5.locks import process_name, try_lock, wait_until

_SUFFIX = ".lock"


def lock_path(store: Path) -> Path:
    """Where the lock file of a store lies."""
    return store.with_name(store.name + _SUFFIX)


class WriterLock:
    """The right to write a store, until it is released.

    Parameters
    ----------
    path
        The lock file.
    fd
        It, open and locked.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def acquire(cls, store: Path, deadline: float) -> WriterLock:
        """Take the lock, waiting until the deadline (monotonic time) if somebody else has it.

        Raises
        ------
        StoreBusyError
            If somebody still has it then; the message says who.
        OSError
            If the lock file cannot be made.
        """
        path = lock_path(store)
        taken: list[int] = []

        def attempt() -> bool:
            fd = _open_locked(path)
            if fd is not None:
                taken.append(fd)
            return fd is not None

        wait_until(attempt, deadline, lambda: f"{store} is being written by {_owner(path)}")
        _sign(taken[0])
        return cls(path, taken[0])

    def release(self) -> None:
        """Let others write."""
        # A lock file that cannot be removed is locked again by whoever comes next.
        with contextlib.suppress(OSError):
            if _is_named(self._path, self._fd):
                self._path.unlink()
        os.close(self._fd)


class NoLock:
    """Stands for the lock of a file that nobody else would write."""

    def release(self) -> None:
        """Nothing."""


def _open_locked(path: Path) -> int | None:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    try:
        _share(fd, path.with_name(path.name.removesuffix(_SUFFIX)))
        locked = try_lock(fd, fcntl.LOCK_EX) and _is_named(path, fd)
    except BaseException:
        os.close(fd)
        raise
    if not locked:
        os.close(fd)
        return None
    return fd


def _share(fd: int, store: Path) -> None:
    """Who may read a store may see its lock, and nobody else."""
    with contextlib.suppress(OSError):
        if os.fstat(fd).st_uid == os.geteuid() and not os.fstat(fd).st_size:
            like = store.stat()
            share_alike(fd, like, 0o600 | (like.st_mode & 0o066))


def _is_named(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    who = {
        "process": process_name(os.getpid()),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # Who it is serves an error message only: a full disk is met, and told of, by the commit.
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(who).encode() + b"\n", 0)


def _owner(path: Path) -> str:
    try:
        who = json.loads(path.read_bytes())
        return f"{who['process']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
