"""Who may read a store, and the files that belong to it: never more than were meant to."""

from __future__ import annotations

import contextlib
import os
import stat

_GROUP = 0o070


def grant(fd: int, mode: int | None, group: int | None) -> None:
    """Give a file permissions and a group; at no moment may anybody read it who must not.

    Parameters
    ----------
    fd
        The file.
    mode
        Permission bits; None: as they are.
    group
        Group number; None: as it is.

    Raises
    ------
    OSError
        This process may not.
    """
    found = os.fstat(fd)
    wanted = stat.S_IMODE(found.st_mode) if mode is None else mode
    if group is not None and found.st_gid != group:
        os.fchmod(fd, wanted & ~_GROUP & stat.S_IMODE(found.st_mode))
        os.fchown(fd, -1, group)
    if stat.S_IMODE(os.fstat(fd).st_mode) != wanted:
        os.fchmod(fd, wanted)


def share_alike(fd: int, like: os.stat_result, mode: int) -> None:
    """Give a file that belongs to a store the store's group, or its group no rights.

    Parameters
    ----------
    fd
        The file, made with rights for its owner alone.
    like
        The store.
    mode
        What the file is to have.
    """
    if os.fstat(fd).st_gid != like.st_gid:
        try:
            os.fchown(fd, -1, like.st_gid)
        except OSError:
            mode &= ~_GROUP
    # Its owner can use it all the same.
    with contextlib.suppress(OSError):
        os.fchmod(fd, mode)
