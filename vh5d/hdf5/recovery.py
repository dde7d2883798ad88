"""What a crash left of a commit: brought to its end, or taken back."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Literal

from vh5d.errors import NotAStoreError, StoreDamagedError, StoreMissingError
from vh5d.hdf5.disk import Disk, close_synced, read_fully, refusals, write_error, write_fully
from vh5d.hdf5.journal import Journal, journal_path, superblock_digest
from vh5d.hdf5.locks import deadline_after, lock_holders, try_lock, wait_until
from vh5d.hdf5.superblock import Superblock, find_superblock
from vh5d.hdf5.writer_lock import WriterLock

Recovered = Literal["redone", "dropped", "cut"]
"""What recovery did: finished a commit; took one back; cut off bytes that no commit reached."""

RECOVERED: dict[str, str] = {
    "redone": "a commit to the store that had been interrupted has been finished",
    "dropped": "a commit to the store that had been interrupted has been taken back",
    "cut": "what an interrupted commit had left behind the store's end has been cut off",
}
"""What to say of it."""


def recover(path: Path | str, *, disk: Disk | None = None, timeout: float = 30.0) -> str | None:
    """Make a store readable if a crash, or a commit in progress, keeps it from being so.

    For readers: nothing is locked or written if there is nothing to do.

    Parameters
    ----------
    path
        The store.
    disk
        What reads and writes.
    timeout
        Seconds to wait for whoever is writing the store, or holds it open.

    Returns
    -------
    str or None
        "redone" if an interrupted commit was finished, "dropped" if one was taken back, "cut" if
        only bytes past the end were cut off, None if there was nothing to do.

    Raises
    ------
    StoreMissingError, NotAStoreError, StoreDamagedError
        If there is no store, or it is something else, or shorter than it says.
    StoreBusyError
        If somebody has it still when the time is over.
    StoreWriteError
        If the disk refuses, or this user may not repair it.
    """
    disk = disk or Disk()
    store = Path(os.path.realpath(path))
    deadline = deadline_after(timeout)
    if not _needed(disk, store):
        return None
    try:
        lock = WriterLock.acquire(store, deadline)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EROFS} and not _refused(disk, store):
            return None
        raise write_error(store, error) from error
    try:
        fd = open_store_file(disk, store, os.O_RDWR)
        try:
            return recover_locked(disk, store, fd, deadline)
        finally:
            close_synced(disk, fd)
    finally:
        lock.release()


def open_store_file(disk: Disk, store: Path, flags: int) -> int:
    """Open a store that exists; the errors of `recover`."""
    with refusals(store):
        if not store.exists():
            raise StoreMissingError(f"{store} does not exist", hint="check the path")
        if not store.is_file():
            raise NotAStoreError(f"{store} is not a regular file", hint="name a store")
        return disk.open(store, flags)


def read_superblock(disk: Disk, store: Path, fd: int) -> Superblock:
    """The superblock of a store; NotAStoreError if it has none."""

    def read(offset: int, nbytes: int) -> bytes:
        buffer = bytearray(nbytes)
        read_fully(disk, fd, memoryview(buffer), offset)
        return bytes(buffer)

    with refusals(store):
        found = find_superblock(read, disk.size(fd))
    if found is None:
        raise NotAStoreError(f"{store} is not an HDF5 file", hint="name a store")
    return found


def recover_locked(disk: Disk, store: Path, fd: int, deadline: float) -> Recovered | None:
    """Recover a store whose writer lock is held; the errors of `recover`."""
    superblock = read_superblock(disk, store, fd)
    if not _dirty(disk, store, fd, superblock):
        _check_length(disk, store, fd, superblock)
        return None
    with refusals(store):
        wait_until(
            lambda: try_lock(fd, fcntl.LOCK_EX),
            deadline,
            lambda: f"{store} must be recovered but is held open by {lock_holders(fd)}",
        )
        try:
            return _recover(disk, store, fd)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)


def _recover(disk: Disk, store: Path, fd: int) -> Recovered | None:
    superblock = read_superblock(disk, store, fd)
    journal = _read_journal(disk, store)
    outcome: Recovered | None = None
    if journal is not None:
        decoded = Journal.decode(journal)
        outcome = "dropped"
        if decoded is not None and _belongs(decoded, superblock):
            # Even if it seems applied: what a killed writer left may not be on the disk yet, and
            # what a failed sync left never will.
            _write_again(disk, store, journal)
            decoded.apply(disk, fd)
            outcome = "redone"
            superblock = read_superblock(disk, store, fd)
    _check_intact(store, superblock)
    _check_length(disk, store, fd, superblock)
    # The journal goes first: should a power cut bring it back, it must find what it is for. One
    # whose name is gone already may come back, too: a commit that failed could not sync that.
    if journal is not None:
        disk.unlink(journal_path(store))
    disk.sync_directory(store.parent)
    if superblock.status_flags:
        clean = memoryview(superblock.with_status_flags(0))
        write_fully(disk, fd, clean, superblock.offset)
        outcome = outcome or "dropped"
    if disk.size(fd) > superblock.eof:
        disk.ftruncate(fd, superblock.eof)
        outcome = outcome or "cut"
    disk.fdatasync(fd)
    return outcome


def _belongs(journal: Journal, superblock: Superblock) -> bool:
    # A superblock that is neither, but torn, was being written when the power went.
    known = superblock_digest(superblock) in {journal.before, journal.after}
    return known or not superblock.intact


def _read_journal(disk: Disk, store: Path) -> bytes | None:
    try:
        fd = disk.open(journal_path(store), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        data = bytearray(disk.size(fd))
        read_fully(disk, fd, memoryview(data), 0)
        return bytes(data)
    finally:
        close_synced(disk, fd)


def _write_again(disk: Disk, store: Path, journal: bytes) -> None:
    """Make a journal durable, the same bytes over those that may only be in the cache."""
    fd = disk.open(journal_path(store), os.O_WRONLY)
    try:
        write_fully(disk, fd, memoryview(journal), 0)
        disk.fsync(fd)
    finally:
        close_synced(disk, fd)
    disk.sync_directory(store.parent)


def _needed(disk: Disk, store: Path) -> bool:
    return journal_path(store).exists() or _refused(disk, store)


def _refused(disk: Disk, store: Path) -> bool:
    """Whether HDF5 would refuse to open the store as it is."""
    fd = open_store_file(disk, store, os.O_RDONLY)
    try:
        superblock = read_superblock(disk, store, fd)
    finally:
        close_synced(disk, fd)
    return bool(superblock.status_flags) or not superblock.intact


def _dirty(disk: Disk, store: Path, fd: int, superblock: Superblock) -> bool:
    return (
        bool(superblock.status_flags)
        or not superblock.intact
        or journal_path(store).exists()
        or disk.size(fd) > superblock.eof
    )


def _check_intact(store: Path, superblock: Superblock) -> None:
    if not superblock.intact:
        raise StoreDamagedError(
            f"{store} has a damaged superblock", hint="restore it from a backup"
        )


def _check_length(disk: Disk, store: Path, fd: int, superblock: Superblock) -> None:
    size = disk.size(fd)
    if size < superblock.eof:
        raise StoreDamagedError(
            f"{store} is {superblock.eof - size} bytes shorter than it says",
            hint="restore it from a backup",
        )
