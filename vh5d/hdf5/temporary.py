"""A new store, hidden until it is whole: a temporary file beside it that gets its name at last."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path

from vh5d.errors import StoreConflictError
from vh5d.hdf5.access import share_alike
from vh5d.hdf5.disk import Disk, close_synced
from vh5d.hdf5.locks import try_lock

# NAME_MAX is 255 bytes; the prefix, process and random part take at most 40.
_LONGEST_NAME = 200


def make_temporary(disk: Disk, store: Path, mode: int) -> tuple[Path, int]:
    """Make the file in which a store is staged, locked as long as it is open.

    Returns
    -------
    path, descriptor
    """
    path = store.with_name(f"{_prefix(store)}{os.getpid()}-{secrets.token_hex(4)}")
    fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try_lock(fd, fcntl.LOCK_EX)
    return path, fd


def remove_stale(disk: Disk, store: Path) -> None:
    """Remove what processes that died left behind; the store's writer lock must be held."""
    for path in store.parent.glob(f"{_escape(_prefix(store))}*"):
        # One that cannot be looked at, or removed, is no hindrance; the next writer tries again.
        with contextlib.suppress(OSError):
            if _abandoned(path, store):
                disk.unlink(path)


def make_replacement(disk: Disk, store: Path, like: os.stat_result) -> tuple[Path, int]:
    """Make a file that is to take a store's place, with its permissions; the lock must be held.

    Returns
    -------
    path, descriptor
    """
    remove_replacement(disk, store)
    path = _replacement_path(store)
    fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # Only root gives files away; a store that belongs to somebody else then changes hands.
        with contextlib.suppress(PermissionError):
            os.fchown(fd, like.st_uid, -1)
        share_alike(fd, like, stat.S_IMODE(like.st_mode))
    except BaseException:
        close_synced(disk, fd)
        disk.unlink(path)
        raise
    return path, fd


def remove_replacement(disk: Disk, store: Path) -> None:
    """Remove a replacement that a writer which died left; the store's writer lock must be held."""
    path = _replacement_path(store)
    if os.path.lexists(path):
        # One that cannot be removed is no hindrance to anybody who does not make a new one.
        with contextlib.suppress(OSError):
            disk.unlink(path)


def replace_store(disk: Disk, replacement: Path, store: Path) -> None:
    """Give a durable replacement the store's name, in place of the store.

    A journal that was removed must not come back and find the replacement: its removal is made
    durable first.

    Raises
    ------
    OSError
        If the disk refuses. The name may belong to either file then, both of them whole.
    """
    disk.sync_directory(store.parent)
    disk.rename(replacement, store)
    disk.sync_directory(store.parent)


def publish(disk: Disk, temporary: Path, store: Path) -> Path:
    """Give a durable temporary file the store's name, never over a file that has it.

    Returns
    -------
    Path
        A name that tells whoever comes next that the store's may not be durable yet: the temporary
        one, or where there are no hard links that of a replacement. To be removed by `settle`.

    Raises
    ------
    StoreConflictError
        If the name was taken meanwhile.
    OSError
        If the disk refuses.
    """
    try:
        disk.link(temporary, store)
    except FileExistsError as error:
        raise _taken(store) from error
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
            raise
        return _publish_by_rename(disk, temporary, store)
    return temporary


def _publish_by_rename(disk: Disk, temporary: Path, store: Path) -> Path:
    witness = _replacement_path(store)
    close_synced(disk, disk.open(witness, os.O_WRONLY | os.O_CREAT))
    try:
        disk.rename_new(temporary, store)
    except OSError as error:
        with contextlib.suppress(OSError):
            disk.unlink(witness)
        if isinstance(error, FileExistsError):
            raise _taken(store) from error
        raise
    return witness


def settle(disk: Disk, witness: Path, store: Path) -> None:
    """Make a published store's name durable, then remove what `publish` returned."""
    disk.sync_directory(store.parent)
    # Another name for the store does no harm; the next writer removes it.
    with contextlib.suppress(OSError):
        disk.unlink(witness)


def settle_left(disk: Disk, store: Path, links: int) -> None:
    """Settle a store that somebody made, or replaced, who then died or failed.

    Parameters
    ----------
    disk, store
        The store; its writer lock must be held.
    links
        How many names it has.
    """
    if links > 1 or os.path.lexists(_replacement_path(store)):
        disk.sync_directory(store.parent)
        remove_replacement(disk, store)
        remove_stale(disk, store)


def _taken(store: Path) -> StoreConflictError:
    return StoreConflictError(
        f"{store} was created by somebody else meanwhile", hint="open it instead"
    )


def _replacement_path(store: Path) -> Path:
    # Shorter than the journal's name, which must be possible anyway.
    return store.with_name(f".{store.name}.new")


def _prefix(store: Path) -> str:
    name = os.fsencode(store.name)[:_LONGEST_NAME]
    return f".{name.decode(errors='ignore')}.tmp-"


def _escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _abandoned(path: Path, store: Path) -> bool:
    """Whether nobody stages in it: its lock is free, or it is a second name of the store."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if store.exists() and os.path.samestat(store.stat(), os.fstat(fd)):
            return True
        return try_lock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)
