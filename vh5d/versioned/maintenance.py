"""Changes to the whole history of a file: versions deleted, datasets stored in another way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

import h5py
import numpy as np

from vh5d.errors import UsageError
from vh5d.hdf5.address import address_of
from vh5d.hdf5.creation_options import creation_options
from vh5d.store import layout
from vh5d.store.dropping import drop, select
from vh5d.store.prune import prune
from vh5d.store.reachability import reach_all
from vh5d.store.seals import renew
from vh5d.versioned import history
from vh5d.versioned.backing import Backing
from vh5d.versioned.file import VersionedHDF5File
from vh5d.versioned.group import InMemoryGroup
from vh5d.versioned.opening import open as open_versions
from vh5d.versioned.recipe import Recipe
from vh5d.versioned.relinking import replace_everywhere
from vh5d.versioned.remaking import Remaking

Versioned: TypeAlias = VersionedHDF5File | h5py.File | str | os.PathLike[str]
Callback: TypeAlias = Callable[[h5py.Dataset, str], h5py.Dataset | np.ndarray[Any, Any] | None]


class _Default(Enum):
    KEEP = "keep"


#: Stands for an argument that was not given, where None means something.
KEEP: Final = _Default.KEEP
Keep = Literal[_Default.KEEP]


def delete_versions(f: Versioned, versions_to_delete: str | Iterable[str]) -> None:
    """Delete versions, and what no other version has.

    Those based on a deleted version are then based on the nearest one before it that is left.

    Parameters
    ----------
    f
        The path of a file, or it opened: a `VersionedHDF5File`, or an `h5py.File`.
    versions_to_delete
        Their names; all may go.

    Raises
    ------
    VersionNotFoundError
        There is no such version; nothing was deleted.
    StoreError
        The file cannot be used, or not now; nothing was deleted.

    Notes
    -----
    Of a file given by its path, or opened by `vh5d.open`, the versions go in one atomic commit, and
    what only they had becomes holes: the file takes less of its disk at once.

    A caller's own `h5py.File` keeps its size: no driver of HDF5 can give back a part of a file, and
    the space is not used for anything else. It comes back when the file is closed and given to
    `vh5d.prune`, with no version to drop, or to `vh5d.compact`. There, deleting is not atomic.
    """
    names = [versions_to_delete] if isinstance(versions_to_delete, str) else [*versions_to_delete]
    if isinstance(f, str | os.PathLike) and not _is_theirs(f):
        prune(f, names, allow_empty=True)
        return
    with _opened(f) as backing:
        with backing.transaction() as area:
            selection = select(area.file, names, allow_empty=True)
            reached = reach_all(area.file, area.read, area.pools, without=selection.dropped)
            drop(area.file, area.pools, selection, reached)
        backing.give_back(reached)


def modify_metadata(  # noqa: PLR0913 - as many as create_dataset has
    f: Versioned,
    dataset_name: str,
    *,
    chunks: tuple[int, ...] | bool | None = None,
    dtype: Any = None,
    fillvalue: Any = None,
    compression: Any = KEEP,
    compression_opts: Any = KEEP,
    scaleoffset: int | Keep | None = KEEP,
    shuffle: bool | Keep = KEEP,
    fletcher32: bool | Keep = KEEP,
) -> None:
    """Store a dataset in another way, in all versions that have it.

    What is not given stays as it is. Versions that share chunks share them afterwards; the space of
    the old ones comes back as by `delete_versions`.

    Parameters
    ----------
    f
        As for `delete_versions`.
    dataset_name
        Path of the dataset in the versions.
    chunks
        Chunk shape.
    dtype
        Element type; the values are cast.
    fillvalue
        Fill value. Values that equal the old one become the new one, also where they were written.
    compression, compression_opts, scaleoffset, shuffle, fletcher32
        As for h5py's `create_dataset`. None for no compression, or the usual options.

    Raises
    ------
    UsageError
        No version has such a dataset; a version that has it was captured from a file, and stays
        what it was bit for bit; the dataset is no array.
    ValueError, TypeError
        What h5py says of such chunks, types or filters. Nothing was changed.
    """
    given = {
        "chunks": KEEP if chunks is None else chunks,
        "fillvalue": KEEP if fillvalue is None else fillvalue,
        "compression": compression,
        "compression_opts": compression_opts,
        "scaleoffset": scaleoffset,
        "shuffle": shuffle,
        "fletcher32": fletcher32,
    }
    options = {name: value for name, value in given.items() if value is not KEEP}
    recipe = Recipe(dtype, options)
    with _opened(f) as backing:
        with backing.transaction() as area:
            found = _find(area.file, dataset_name)
            remaking = Remaking(area, recipe)
            made = [(old.id, remaking.remake(old)) for old in found]
            replace_everywhere(area.file, made)
            renew(area.file, {address_of(new) for _, new in made})
        backing.forget()
        with backing.transaction() as area:
            reached = reach_all(area.file, area.read, area.pools)
            drop(area.file, area.pools, select(area.file, ()), reached)
        backing.give_back(reached)


def recreate_dataset(
    f: Versioned,
    name: str,
    newf: VersionedHDF5File | h5py.File,
    callback: Callback | None = None,
) -> None:
    """Make the history of a dataset again in another file, changed on the way.

    The other file gets versions of the same names, times and order, with this dataset in them.

    Parameters
    ----------
    f
        As for `delete_versions`; only read.
    name
        Path of the dataset.
    newf
        The other file, open for writing; without versions of these names.
    callback
        Is given the dataset and the version's name, for each version that has it. Returns what the
        dataset shall be in it: an array, or a dataset, also the one given; None for no dataset.

    Raises
    ------
    ValueError
        The other file has a version of such a name.
    UsageError
        No version has such a dataset.
    """
    target = newf if isinstance(newf, VersionedHDF5File) else VersionedHDF5File(newf)
    with _opened(f) as backing:
        versions = backing.file[layout.VERSIONS]
        current = str(versions.attrs["current_version"])
        found = False
        for version in history.names(versions):
            group = versions[version]
            parent = str(group.attrs["prev_version"])
            if parent not in target.versions:
                parent = ""
            when = history.time_of(group)
            with target.stage_version(version, parent, version == current, when) as staged:
                old = group.get(name)
                if isinstance(old, h5py.Dataset):
                    found = True
                    _put(staged, name, old if callback is None else callback(old, version))
                elif name in staged:
                    del staged[name]
        if not found:
            raise UsageError(f"no version has a dataset {name!r}")


def _put(staged: InMemoryGroup, name: str, new: Any) -> None:
    """Have a staged version's dataset be another, an array, or not there."""
    if new is None:
        if name in staged:
            del staged[name]
        return
    options = creation_options(new) if isinstance(new, h5py.Dataset) else {}
    values = new[()] if isinstance(new, h5py.Dataset) else np.asarray(new)
    before = staged.get(name)
    if before is not None and _same_kind(before, new, options):
        if before.shape != values.shape:
            before.resize(values.shape)
        before[...] = values
    else:
        if before is not None:
            del staged[name]
        dtype = new.dtype if isinstance(new, h5py.Dataset) else None
        before = staged.create_dataset(name, data=values, dtype=dtype, **options)
    if isinstance(new, h5py.Dataset):
        for key in [key for key in before.attrs if key not in new.attrs]:
            del before.attrs[key]
        for key, value in new.attrs.items():
            before.attrs[key] = value


def _same_kind(before: Any, new: Any, options: dict[str, Any]) -> bool:
    if before.dtype != new.dtype or len(before.shape) != len(new.shape) or not new.shape:
        return False
    limits = before.maxshape
    fits = all(limit is None or n <= limit for n, limit in zip(new.shape, limits, strict=True))
    chunks = options.get("chunks")
    filters = (before.compression, before.compression_opts, before.shuffle, before.fletcher32)
    if isinstance(new, h5py.Dataset):
        theirs = (new.compression, new.compression_opts, new.shuffle, new.fletcher32)
        fits = fits and filters == theirs and before.fillvalue == new.fillvalue
    return fits and (chunks is None or chunks == before.chunks)


def _find(file: h5py.File, name: str) -> list[h5py.Dataset]:
    """Return the datasets that versions have under a name, each once, the oldest first."""
    versions, images = file[layout.VERSIONS], file[layout.IMAGES]
    found: dict[Any, h5py.Dataset] = {}
    for version in history.names(versions):
        dataset = versions[version].get(name)
        if not isinstance(dataset, h5py.Dataset):
            continue
        if version in images:
            raise UsageError(
                f"version {version!r} was captured from a file, and stays what it was bit for bit",
                hint="recreate_dataset makes the dataset's history again in another file",
            )
        found.setdefault(dataset.id, dataset)
    if not found:
        raise UsageError(f"no version has a dataset {name!r}")
    return list(found.values())


def _is_theirs(path: str | os.PathLike[str]) -> bool:
    with open_versions(path, "r") as versioned:
        return layout.is_theirs(versioned.f)


@contextmanager
def _opened(f: Versioned) -> Iterator[Backing]:
    """Have what is under a file of versions, nothing of it known beforehand."""
    if isinstance(f, str | os.PathLike):
        with open_versions(f, "r+") as versioned:
            yield versioned._open()  # noqa: SLF001 - this module is part of the class
        return
    versioned = f if isinstance(f, VersionedHDF5File) else VersionedHDF5File(f)
    backing = versioned._open()  # noqa: SLF001
    backing.forget()
    yield backing
    backing.forget()
