"""Whether a file that is not there was deleted, or cannot be seen.

A share that is not mounted shows an empty directory, or none; a disk that fails shows errors.
Neither is a deletion.
"""

from __future__ import annotations

from pathlib import Path

from vh5d.service.catalog.source import Source

Identity = tuple[int, int]
"""Device and inode."""


def identity(path: Path) -> Identity | None:
    """Which directory this is; None: it cannot be seen."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def inode(directory: Path) -> int | None:
    """Its inode; None: it is not there."""
    found = identity(directory)
    return found[1] if found is not None else None


def is_absent(path: Path) -> bool:
    """Whether the file system says that there is no such name; an error says nothing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def was_deleted(path: Path, root: Path, before: Source, *, watched: Identity | None = None) -> bool:
    """Whether a known file is gone from a file system that is there.

    Parameters
    ----------
    path
        The file.
    root
        The watched directory it is below.
    before
        What is known of it.
    watched
        What `root` was when it began to be watched, for files that were never captured.
    """
    now = identity(root)
    if now is None or not is_absent(path):
        return False
    if before.device is None:
        return now == watched
    if before.root_inode not in {None, now[1]}:
        return False  # another directory has the root's name
    above = _nearest_directory(path, root)
    return above is not None and above[0] == before.device


def _nearest_directory(path: Path, root: Path) -> Identity | None:
    """The lowest directory above `path` that is there: what is mounted, or what it would cover."""
    for parent in path.parents:
        found = identity(parent)
        if found is not None or parent == root:
            return found
    return None
