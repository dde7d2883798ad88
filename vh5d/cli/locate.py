"""From the FILE of a command line to a source and its store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vh5d.errors import StoreMissingError, UsageError

if TYPE_CHECKING:
    from vh5d.cli.options import Told

HOME = ".vh5d"
HEAD_NBYTES = 4096  # the link to a store's own group is within them


@dataclass(frozen=True)
class Located:
    """A source and its store, both absolute.

    Attributes
    ----------
    source
        None when FILE is a store: its versions say what it is of.
    store
        Exists, unless a new one is to be made.
    """

    source: Path | None
    store: Path


def locate(file: str, store: str | None, told: Told) -> Located:
    """Return the store that FILE is, or that keeps its versions.

    Parameters
    ----------
    file
        A source, perhaps deleted, or a store.
    store
        What ``--store`` says.
    told
        The common options.

    Raises
    ------
    StoreMissingError
        There is none.
    UsageError
        No policy of the configuration means FILE, or it is a directory.
    """
    path = _absolute(file)
    if store is not None:
        return Located(path, _existing(_absolute(store)))
    if is_store(path):
        return Located(None, path)
    by_policy = _by_policy(path, told)
    if by_policy is not None:
        return Located(path, _existing(by_policy))
    found = _beside(path)
    if found is None and is_theirs(path):
        return Located(None, path)  # commands that cannot use it say so
    if found is None and path.is_dir():
        raise UsageError(f"{path}: is a directory", hint="name a file in it, or a store")
    if found is None:
        what = "has no versions yet" if path.exists() else "does not exist, and has no versions"
        hint = f"`vh5d snapshot {file}` makes the first one, --store names a store elsewhere"
        raise StoreMissingError(
            f"{path}: {what}", hint=hint if path.exists() else "check the path, or say --store"
        )
    return Located(path, found)


def locate_for_capture(file: str, store: str | None, told: Told) -> Located:
    """Return a source and the store to keep it in, which need not exist.

    Raises
    ------
    UsageError
        FILE is a store itself, or no policy of the configuration means it.
    """
    path = _absolute(file)
    if is_store(path):
        raise UsageError(f"{path}: is a store itself", hint="name the file whose versions it keeps")
    if store is not None:
        return Located(path, _absolute(store))
    chosen = _by_policy(path, told) or _beside(path) or _new_beside(path)
    return Located(path, chosen)


def is_store(path: Path, *, expected: bool = False) -> bool:
    """Whether a file is a store, going by its content; nothing is locked.

    One that may not be read is taken for a store where stores are `expected`, or in a ``.vh5d``:
    whoever opens it says what is wrong.
    """
    if not path.is_file():
        return False
    import h5py

    from vh5d.errors import SourceError
    from vh5d.hdf5.journal import journal_path
    from vh5d.hdf5.source_file import SourceFile
    from vh5d.store import layout

    try:
        with SourceFile(path) as file:
            if file.superblock() is None:
                return False
            with h5py.File(file, "r") as opened:
                versions = opened.get(layout.VERSIONS)
                return versions is not None and versions.attrs.get("format") == layout.FORMAT
    except (SourceError, OSError, RuntimeError, KeyError):
        # A damaged store is one, and so is what a crash left of it.
        if _looks_like_store(path) or journal_path(path).exists():
            return True
        return (expected or HOME in path.parts) and _hidden_from_us(path)


def stores_below(directory: Path) -> Iterator[Path]:
    """Yield all stores in a directory and below.

    Raises
    ------
    StoreMissingError
        There is none.
    PermissionError
        A directory may not be read; after all that can be seen.
    """
    found = False
    closed: list[OSError] = []
    for above, directories, names in os.walk(directory, onerror=closed.append):
        directories.sort()
        for path in (Path(above, name) for name in sorted(names)):
            if is_store(path):
                found = True
                yield path.absolute()
    if closed:
        raise closed[0]
    if not found:
        raise StoreMissingError(f"{directory}: there is no store in it", hint="check the path")


def is_theirs(path: Path) -> bool:
    """Whether a file holds versions that versioned-hdf5 wrote; nothing is locked."""
    if not path.is_file():
        return False
    import h5py

    from vh5d.errors import SourceError
    from vh5d.hdf5.source_file import SourceFile
    from vh5d.store import layout

    try:
        with SourceFile(path) as file, h5py.File(file, "r") as opened:
            return layout.is_theirs(opened)
    except (SourceError, OSError, RuntimeError, KeyError):
        return False


def _looks_like_store(path: Path) -> bool:
    from vh5d.store import layout

    try:
        with path.open("rb") as file:
            return layout.ROOT.encode() in file.read(HEAD_NBYTES)
    except OSError:
        return False


def _hidden_from_us(path: Path) -> bool:
    """Whether a file that is no lock or journal may not be read."""
    others = path.name.startswith(".") or path.name.endswith((".lock", "-journal"))
    return not others and not os.access(path, os.R_OK)


def source_of(store: Path, recorded: Path | None) -> Path | None:
    """Return where the source of a store is, or was.

    Parameters
    ----------
    store
        The store.
    recorded
        What its newest version says; a directory moved with its stores may be elsewhere by now.
    """
    for ancestor in store.parents:
        if ancestor.name == HOME:
            beside = ancestor.parent / store.relative_to(ancestor)
            return beside if recorded is None or beside.name == recorded.name else recorded
    return recorded


def _by_policy(path: Path, told: Told) -> Path | None:
    config = told.config()
    if config is None:
        return None
    policy = config.policy_for(path)
    if policy is None:
        raise UsageError(
            f"{path}: no policy of {told.config_file} is for it", hint="say --store, or no --config"
        )
    return policy.store_for(path)


def _beside(path: Path) -> Path | None:
    """Return the store in the ``.vh5d`` of the nearest directory above that has one of it."""
    stores = (home / inside for home, inside in _candidates(path))
    return next((each for each in stores if is_store(each)), None)


def _new_beside(path: Path) -> Path:
    homes = (home / inside for home, inside in _candidates(path) if home.is_dir())
    return next(homes, path.parent / HOME / path.name)


def _candidates(path: Path) -> Iterator[tuple[Path, Path]]:
    for each in dict.fromkeys((path, Path(os.path.realpath(path)))):
        for ancestor in each.parents:
            yield ancestor / HOME, each.relative_to(ancestor)


def _existing(store: Path) -> Path:
    if not store.exists():
        raise StoreMissingError(
            f"{store}: there is no such store", hint="`vh5d snapshot` makes one"
        )
    return store


def _absolute(file: str) -> Path:
    # Not resolve(): a policy that watches a symbolic link means paths through it.
    return Path(os.path.abspath(file))  # noqa: PTH100
