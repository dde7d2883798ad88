"""A version and the files that it goes with, restored together."""

from __future__ import annotations

import os
from pathlib import Path

from vh5d.capture.restore import RestoreResult, restore
from vh5d.errors import UsageError, VersionNotFoundError, VH5DError
from vh5d.store.companions import Companion, read_companions
from vh5d.store.reader import open_store


def restore_companions(
    store: str | os.PathLike[str],
    version: str,
    target: str | os.PathLike[str],
    *,
    source: Path,
    overwrite: bool = False,
) -> tuple[tuple[RestoreResult, ...], tuple[str, ...]]:
    """Restore the files that a version goes with, where they lay as seen from it.

    Parameters
    ----------
    store, version
        Whose companions.
    target
        Where the version itself was restored: the others go beside and below it, never above.
    source
        Where the version was captured: from there the stores of the others are found.
    overwrite
        Whether files that exist may be replaced.

    Returns
    -------
    tuple
        What was restored, and what was not, one line each.
    """
    with open_store(store) as reader:
        companions = read_companions(reader.file, reader.resolve(version).name)
    restored, left = [], []
    for each in companions:
        try:
            restored.append(_one(each, Path(target).parent, source.parent, overwrite=overwrite))
        except VH5DError as error:
            left.append(f"{each.path}: not restored: {error}")
    return tuple(restored), tuple(left)


def _one(each: Companion, directory: Path, origin: Path, *, overwrite: bool) -> RestoreResult:
    if each.store is None or each.version is None:
        raise VersionNotFoundError("it was not there")
    path = Path(os.path.normpath(each.path))
    if path.is_absolute() or path.parts[:1] == ("..",):
        raise UsageError(f"its place is not below {directory}", hint="restore it by itself")
    place = directory / path
    place.parent.mkdir(parents=True, exist_ok=True)
    store = Path(os.path.normpath(origin / each.store))
    return restore(store, each.version, place, overwrite=overwrite)
