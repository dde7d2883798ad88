"""Tags: names that people give to versions, and that retention respects.

`/_version_data/tags` has an attribute for each, with the sequence number of its version; HDF5's
checksum of the object header covers them. They lie beside the versions, and the chain of versions
(`vh5d.store.chain`) does not cover them: a tag is put on and taken off at any time, and that is no
other history. What it names is proven, for sequence numbers are in the chain and never come again;
that it was this version which somebody tagged is not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from vh5d.errors import UsageError, VersionNotFoundError
from vh5d.hdf5.disk import Disk
from vh5d.store import layout
from vh5d.store.transaction import begin
from vh5d.store.versions import TAGS, VersionInfo, list_versions, read_tags, resolve

_NAME = re.compile(r"\w[\w.+-]{0,63}")
#: What captures are called by default: a tag must not look like one that is still to come.
_OF_CAPTURES = re.compile(r"v[0-9]+")


def tag(
    store: str | os.PathLike[str],
    version: str,
    name: str,
    *,
    move: bool = False,
    timeout: float = 30.0,
    disk: Disk | None = None,
) -> VersionInfo:
    """Give a version a name that retention never drops, and that is good wherever a version is.

    Parameters
    ----------
    store
        The store.
    version
        A name, a unique prefix, a tag, ``-1`` or ``@TIME``.
    name
        The tag: letters, digits, ``.``, ``_``, ``+`` and ``-``, at most 64.
    move
        Whether to take it off another version that has it.
    timeout
        How long to wait for other users of the store, in seconds.
    disk
        What reads and writes.

    Returns
    -------
    The version, with its tags.

    Raises
    ------
    VersionNotFoundError, AmbiguousVersionError
        There is no such version.
    UsageError
        The name cannot be one, or another version has it.
    StoreError
        The store cannot be used; it is as it was.
    """
    path = Path(store)
    with begin(path, create=False, timeout=timeout, disk=disk) as transaction:
        file = transaction.file
        versions = list_versions(file)
        chosen = resolve(versions, version, where=path)
        _check_name(name, versions)
        bearer = next((each for each in versions if name in each.tags), None)
        if bearer is not None and bearer != chosen and not move:
            raise UsageError(
                f"{path}: {name!r} is a tag of {bearer.name!r}", hint="say --move to move it"
            )
        if bearer != chosen:
            put(file, name, chosen.sequence)
            transaction.commit()
    return replace(chosen, tags=tuple(sorted({*chosen.tags, name})))


def untag(
    store: str | os.PathLike[str], name: str, *, timeout: float = 30.0, disk: Disk | None = None
) -> None:
    """Take a tag off the version that has it; the version stays.

    Parameters
    ----------
    store
        The store.
    name
        The tag.
    timeout
        How long to wait for other users of the store, in seconds.
    disk
        What reads and writes.

    Raises
    ------
    VersionNotFoundError
        No version has it.
    StoreError
        The store cannot be used; it is as it was.
    """
    path = Path(store)
    with begin(path, create=False, timeout=timeout, disk=disk) as transaction:
        if name not in read_tags(transaction.file):
            raise VersionNotFoundError(
                f"{path}: no version has the tag {name!r}", hint="`vh5d tag FILE` lists them"
            )
        del transaction.file[TAGS].attrs[name]
        transaction.commit()


def put(file: h5py.File, name: str, sequence: int) -> None:
    """Have a tag be of the version of this sequence number."""
    file.require_group(TAGS).attrs[name] = np.uint64(sequence)


def put_all(file: h5py.File, versions: Collection[VersionInfo]) -> None:
    """Give versions the tags that versions of the same names have elsewhere."""
    for version in versions:
        for name in version.tags:
            put(file, name, int(file[layout.VERSIONS][version.name].attrs["sequence"]))


def forget(file: h5py.File, sequences: Collection[int]) -> None:
    """Take off the tags of versions that go."""
    gone = set(sequences)
    for name, sequence in read_tags(file).items():
        if sequence in gone:
            del file[TAGS].attrs[name]


def astray(file: h5py.File, versions: Collection[VersionInfo]) -> list[str]:
    """Return the tags of versions that are not there."""
    there = {version.sequence for version in versions}
    return [name for name, sequence in read_tags(file).items() if sequence not in there]


def refuse_tagged(file: h5py.File, names: Collection[str]) -> None:
    """Refuse to drop versions that have a tag.

    Raises
    ------
    UsageError
        One has.
    """
    bearers = {number: name for name, number in read_tags(file).items()}
    for version in sorted(names) if bearers else ():
        number = int(file[layout.VERSIONS][version].attrs["sequence"])
        if number in bearers:
            raise UsageError(
                f"version {version!r} has the tag {bearers[number]!r}; nothing was dropped",
                hint="take the tag off (`vh5d tag --delete`), or say --tagged",
            )


def _check_name(name: str, versions: Collection[VersionInfo]) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a tag", hint="letters, digits and . _ + -, at most 64 of them"
        )
    if _OF_CAPTURES.fullmatch(name) or any(name == version.name for version in versions):
        raise UsageError(f"{name!r} is what a version is called", hint="choose another name")
