"""Where a store goes: no further than whoever chose the place meant, and no more readable."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vh5d.errors import StoreWriteError


def settle_in(store: Path, source: Path) -> Path:
    """Make the directory of a store, and return the store's path with links resolved.

    Links in the path of the source are whose the source is. Others are followed when they belong
    to this user or to root: somebody else who may write beside the source must not choose which
    file this user writes. New directories may be entered by those who may enter the source's.

    Raises
    ------
    StoreWriteError
        A link of somebody else's is in the way, or the directory cannot be made.
    """
    refuse_links(store, source)
    place = Path(os.path.abspath(store))  # noqa: PTH100 - resolve() would follow links
    try:
        _make(Path(os.path.realpath(place.parent)), _mode_like(source))
    except OSError as error:
        raise StoreWriteError(
            f"{place.parent}: cannot make the store's directory: {error.strerror}"
        ) from error
    return Path(os.path.realpath(place))


def make_nest(root: Path, name: str) -> None:
    """Make the directory of a watched directory's stores; who may enter that one may enter it.

    Raises
    ------
    OSError
        It cannot be made.
    """
    (root / name).mkdir(_mode_like(root / name), exist_ok=True)


def refuse_links(store: Path, source: Path) -> None:
    """Raise StoreWriteError for links of other users in a path, beyond what leads to the source."""
    place = Path(os.path.abspath(store))  # noqa: PTH100 - as above
    shared = os.path.commonpath([place, os.path.abspath(source)])  # noqa: PTH100
    path = Path(shared)
    for name in place.relative_to(shared).parts:
        path /= name
        _refuse_planted(path, store)


def _refuse_planted(path: Path, store: Path) -> None:
    try:
        found = path.lstat()
    except OSError:
        return  # not there yet; or what it is will be told by whoever needs it
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in {0, os.geteuid()}:
        raise StoreWriteError(
            f"{store}: {path} is a symbolic link of another user (uid {found.st_uid})",
            hint="remove it, or make it yourself",
        )


def _mode_like(source: Path) -> int:
    try:
        theirs = source.parent.stat().st_mode
    except OSError:
        theirs = 0
    return 0o700 | (theirs & 0o055)


def _make(directory: Path, mode: int) -> None:
    if directory.is_dir():
        return
    _make(directory.parent, mode)
    # Somebody else may make it meanwhile.
    directory.mkdir(mode, exist_ok=True)
