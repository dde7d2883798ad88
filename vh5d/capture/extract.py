"""One dataset or group of a version, in an HDF5 file of its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from vh5d.capture.target import new_file
from vh5d.errors import StoreWriteError, UsageError
from vh5d.hdf5.subtree import copy_subtree
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links, open_link
from vh5d.store.reader import open_store


@dataclass(frozen=True)
class ExtractResult:
    """What an extraction did.

    Attributes
    ----------
    path
        Of the object, in the version and in the new file.
    nbytes
        The size of the file that was made.
    warnings
        What could not be copied, one line each.
    """

    target: Path
    version: str
    path: str
    nbytes: int
    seconds: float
    warnings: tuple[str, ...]


def extract(
    store: str | os.PathLike[str],
    version: str,
    path: str,
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> ExtractResult:
    """Make an HDF5 file that has one dataset or group of a version, at its path.

    Chunks are copied as they are stored. References that lead out of it become null.

    Parameters
    ----------
    store, version, target, overwrite
        As for `restore`.
    path
        Of the dataset or group.

    Raises
    ------
    UsageError
        There is no such object in the version, or its path leads over a soft or external link.
    TargetExistsError, VersionNotFoundError, AmbiguousVersionError, StoreWriteError
        As for `restore`.
    """
    started = time.monotonic()
    with open_store(store) as reader:
        chosen = reader.resolve(version)
        names = [name for name in os.fsencode(path).split(b"/") if name]
        if not names:
            raise UsageError(
                f"{path}: is the whole file", hint="leave --dataset out to restore all of it"
            )
        found = _find(reader.tree(chosen).id, names, chosen.name)
        with new_file(Path(target), overwrite=overwrite) as (fd, name):
            warnings = _copy(found, names, name)
            nbytes = os.fstat(fd).st_size
            # Nobody may read here who may not read the source.
            os.fchmod(fd, chosen.source_mode or 0o600)
    return ExtractResult(
        target=Path(target),
        version=chosen.name,
        path=os.fsdecode(b"/" + b"/".join(names)),
        nbytes=nbytes,
        seconds=time.monotonic() - started,
        warnings=tuple(warnings),
    )


def _find(opened: Any, names: list[bytes], version: str) -> Any:
    for depth, name in enumerate(names, 1):
        path = os.fsdecode(b"/" + b"/".join(names[:depth]))
        links = list_links(opened) if is_group(opened) else ()
        link = next((each for each in links if each.name == name), None)
        if link is None:
            raise UsageError(
                f"{path}: not in version {version!r}", hint="`vh5d show` lists what is"
            )
        if link.kind is not LinkKind.HARD:
            raise UsageError(f"{path}: is {_describe(link)}", hint="name what it leads to")
        opened = open_link(opened, link)
    return opened


def _describe(link: SourceLink) -> str:
    target = os.fsdecode(link.target)
    if link.kind is LinkKind.EXTERNAL:
        return f"an external link to {target} in {os.fsdecode(link.file)}"
    return f"a {link.kind.value} link to {target}"


def _copy(found: Any, names: list[bytes], target: Path) -> list[str]:
    try:
        with h5py.File(target, "w", libver=("v110", "v110"), locking=False) as file:
            parent: Any = file["/"]
            for name in names[:-1]:
                parent = parent.create_group(name)
            return copy_subtree(found, parent.id, names[-1])
    except (OSError, RuntimeError) as error:
        raise StoreWriteError(f"{target.parent}: cannot be written: {error}") from error
