"""A file being made: hidden until it is whole, then in its place in one step."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vh5d.errors import StoreWriteError, TargetExistsError

_HINTS = {
    errno.ENOENT: "make its directory first",
    errno.ENOSPC: "free space on its disk, or choose another place",
    errno.EDQUOT: "free some of the owner's quota, or choose another place",
    errno.EROFS: "choose another place: its file system is mounted read-only",
    errno.EACCES: "choose another place, or give this user the right to write there",
    errno.EPERM: "choose another place, or give this user the right to write there",
}


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[tuple[int, Path]]:
    """Make a file beside `path`; on success it takes its place, else it is removed.

    Yields
    ------
    tuple
        Its descriptor, and its name until then.

    Raises
    ------
    TargetExistsError
        `path` exists, and `overwrite` is false.
    StoreWriteError
        The disk refused.
    """
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name[:200]}.", suffix=".new", dir=path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        yield fd, Path(name)
        os.fsync(fd)
        _publish(name, path, overwrite=overwrite)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _publish(name: str, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        Path(name).replace(path)
    else:
        try:
            os.link(name, path)
        except PermissionError:  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError from None
            Path(name).rename(path)
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _exists(path: Path) -> TargetExistsError:
    return TargetExistsError(f"{path}: exists already", hint="choose another, or say --force")


def _refused(path: Path, error: OSError) -> StoreWriteError:
    if isinstance(error, IsADirectoryError):
        return StoreWriteError(f"{path}: is a directory", hint="name a file")
    hint = _HINTS.get(error.errno or 0)
    return StoreWriteError(f"{path}: cannot be written: {error.strerror}", hint=hint)
