"""`vh5d.import_file`: a store made from a file of versioned-hdf5, which stays as it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from vh5d.errors import NotAStoreError, TargetExistsError
from vh5d.hdf5.copying import copy_link
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.source_file import SourceFile
from vh5d.hdf5.walk import LinkKind, list_links
from vh5d.interop.chunks import Copied, Progress, stored_nbytes
from vh5d.interop.moving import raw_datasets
from vh5d.interop.trees import Trees
from vh5d.store import layout
from vh5d.store.tags import put_all
from vh5d.store.transaction import begin
from vh5d.store.versions import current_version, list_versions


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    Attributes
    ----------
    source, store
        The file of versioned-hdf5, and what was made of it.
    data_version
        Its format, as versioned-hdf5 counts them.
    versions
        Names, oldest first.
    nbytes
        Size of the store.
    warnings
        What could not be kept, one line each.
    """

    source: Path
    store: Path
    data_version: int
    versions: tuple[str, ...]
    nbytes: int
    seconds: float
    warnings: tuple[str, ...] = ()


def import_file(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    timeout: float = 30.0,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> ImportResult:
    """Make a store of a file of versioned-hdf5.

    Chunks are copied as they are stored. What lies beside the versions in the file's root group
    is copied as well.

    Parameters
    ----------
    source
        The file; it is only read.
    store
        Does not exist yet. It appears when it is whole.
    timeout
        Seconds to wait for others who make the same store.
    progress
        Called with bytes of chunks copied and to be copied.
    disk
        What writes the store.

    Raises
    ------
    TargetExistsError
        `store` exists.
    NotAStoreError
        `source` has no versions of versioned-hdf5.
    SourceError
        It cannot be read.
    StoreError
        `store` cannot be written.
    """
    started = time.monotonic()
    path, target = Path(source), Path(store)
    if target.exists():
        raise TargetExistsError(f"{target}: exists, and is left as it is", hint="name another file")
    with _opened(path) as theirs:
        found = layout.data_version(theirs)
        versions = list_versions(theirs)
        with begin(target, timeout=timeout, disk=disk) as transaction:
            raws = list(raw_datasets(theirs[layout.ROOT]))
            chunks = Copied(transaction, theirs.get, progress, stored_nbytes(raws))
            trees = Trees(transaction, theirs[layout.VERSIONS], chunks)
            for version in versions:
                trees.add(version)
            ours = transaction.file
            ours[layout.VERSIONS].attrs["current_version"] = current_version(theirs)
            put_all(ours, versions)
            lost = [*trees.lost, *_copy_rest(theirs, ours)]
            transaction.commit()
    return ImportResult(
        source=path,
        store=target,
        data_version=found,
        versions=tuple(version.name for version in versions),
        nbytes=target.stat().st_size,
        seconds=time.monotonic() - started,
        warnings=tuple(lost),
    )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with SourceFile(path) as source:
        if source.superblock() is None:
            raise NotAStoreError(f"{path}: not an HDF5 file")
        try:
            file = h5py.File(source, "r")
        except OSError as error:
            raise NotAStoreError(f"{path}: HDF5 cannot open it: {error}") from error
        with file:
            if layout.VERSIONS not in file:
                raise NotAStoreError(
                    f"{path}: holds no versions of versioned-hdf5",
                    hint="`vh5d snapshot` keeps versions of any HDF5 file",
                )
            layout.check(file, path, theirs=True)
            if not layout.is_theirs(file):
                raise NotAStoreError(
                    f"{path}: is a store of vh5d already", hint="`vh5d compact` makes it smaller"
                )
            yield file


def _copy_rest(theirs: h5py.File, ours: h5py.File) -> Iterator[str]:
    """Copy what lies beside the versions."""
    for each in list_links(theirs["/"].id):
        name = each.name.decode("utf-8", "surrogateescape")
        if name == layout.ROOT:
            continue
        try:
            if each.kind is LinkKind.HARD:
                theirs.copy(name, ours)
            else:
                copy_link(each, ours.id)
        except H5PY_ERRORS as error:
            yield f"/{name}: is not kept: {error}"
    for name, value in theirs.attrs.items():
        ours.attrs[name] = value
