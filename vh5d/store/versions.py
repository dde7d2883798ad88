"""The versions of a store: listing them, and finding the one that is meant."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vh5d.errors import AmbiguousVersionError, VersionNotFoundError
from vh5d.store import layout
from vh5d.store.times import parse_time

TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S.%f%z"
CANDIDATES_SHOWN = 5
#: A group with an attribute for each tag: the sequence number of its version.
TAGS = f"{layout.ROOT}/tags"
#: In files that we make for versioned-hdf5, an attribute of `/_version_data/versions`, to which it
#: pays no heed: tags with the names of their versions, JSON.
EXPORTED_TAGS = "vh5d_tags"


@dataclass(frozen=True)
class VersionInfo:
    """What a store says of one version.

    Attributes
    ----------
    timestamp
        When it was committed, in UTC.
    bytes_added
        Bytes of chunks, indexes and headers that it brought.
    source_path, source_size, source_mtime_ns, host, cause, digest, kept_as
        Of a captured version; None of one that was staged from Python.
    tags
        Names that people gave it, sorted.
    """

    name: str
    timestamp: datetime
    sequence: int
    prev_version: str
    bytes_added: int | None = None
    source_path: Path | None = None
    source_size: int | None = None
    source_mtime_ns: int | None = None
    source_mode: int | None = None
    host: str | None = None
    cause: str | None = None
    digest: str | None = None
    kept_as: str | None = None
    tags: tuple[str, ...] = ()


def list_versions(file: h5py.File) -> list[VersionInfo]:
    """Return all committed versions, oldest first.

    In files of versioned-hdf5, which does not count them, in the order of their times, but none
    before the one that it is based on.
    """
    images = file.get(layout.IMAGES, {})
    tags: dict[int, list[str]] = {}
    for tag, sequence in sorted(read_tags(file).items()):
        tags.setdefault(sequence, []).append(tag)
    found = [
        _read(name, group.attrs, images[name].attrs if name in images else {}, tags)
        for name, group in file[layout.VERSIONS].items()
        if name != layout.FIRST_VERSION and group.attrs.get("committed", False)
    ]
    if layout.is_theirs(file):
        known = _exported_tags(file)
        return [replace(each, tags=known.get(each.name, ())) for each in _in_order(found)]
    return sorted(found, key=lambda version: version.sequence)


def _in_order(versions: list[VersionInfo]) -> list[VersionInfo]:
    known = {version.name: version for version in versions}
    following: dict[str, list[VersionInfo]] = {}
    for version in versions:
        following.setdefault(version.prev_version, []).append(version)
    first = [each for each in versions if each.prev_version not in known]
    ready = [(version.timestamp, version.name) for version in first]
    heapq.heapify(ready)
    ordered: list[VersionInfo] = []
    while ready:
        version = known[heapq.heappop(ready)[1]]
        ordered.append(replace(version, sequence=len(ordered) + 1))
        for each in following.get(version.name, ()):
            heapq.heappush(ready, (each.timestamp, each.name))
    return ordered


def read_tags(file: h5py.File) -> dict[str, int]:
    """Return the sequence numbers of versions by their tags; -1 for what is no number."""
    group = file.get(TAGS)
    found = {} if group is None else dict(group.attrs)
    return {
        name: int(value) if isinstance(value, np.integer) else -1 for name, value in found.items()
    }


def _exported_tags(file: h5py.File) -> dict[str, tuple[str, ...]]:
    """Return tags by the names of their versions, as an export left them."""
    found: dict[str, list[str]] = {}
    with suppress(KeyError, TypeError, ValueError):  # whoever wrote it may have written anything
        said = json.loads(file[layout.VERSIONS].attrs[EXPORTED_TAGS])
        for tag, version in sorted(said.items()):
            found.setdefault(str(version), []).append(str(tag))
    return {version: tuple(tags) for version, tags in found.items()}


def current_version(file: h5py.File) -> str:
    """Return the name of the version that the next one builds on."""
    return str(file[layout.VERSIONS].attrs["current_version"])


def resolve(versions: Sequence[VersionInfo], spec: str, *, where: Path) -> VersionInfo:
    """Return the version that `spec` names.

    Parameters
    ----------
    versions
        All versions, oldest first.
    spec
        A name, a tag, a unique prefix of a name, ``-1`` (the newest), ``-2``…, or ``@TIME`` (the
        newest one not later than that time).
    where
        The store, for messages.
    """
    if not versions:
        raise VersionNotFoundError(f"{where}: the store has no version yet")
    for version in versions:
        if version.name == spec:
            return version
    for version in versions:
        if spec in version.tags:
            return version
    if spec.startswith("@"):
        return at_time(versions, parse_time(spec[1:]), where=where)
    if spec.startswith("-") and spec[1:].isdigit() and int(spec) < 0:
        if -int(spec) > len(versions):
            raise VersionNotFoundError(
                f"{where}: no version {spec}: there are {len(versions)}",
                hint=f"-1 is the newest, -{len(versions)} the oldest",
            )
        return versions[int(spec)]
    return _by_prefix(versions, spec, where)


def at_time(versions: Sequence[VersionInfo], time: datetime, *, where: Path) -> VersionInfo:
    """Return the newest version that is not later than `time`."""
    earlier = [version for version in versions if version.timestamp <= time]
    if not earlier:
        first = min(version.timestamp for version in versions)
        raise VersionNotFoundError(
            f"{where}: no version is as old as {time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            hint=f"the first one is of {first:%Y-%m-%d %H:%M:%S} UTC",
        )
    return max(earlier, key=lambda version: (version.timestamp, version.sequence))


def _by_prefix(versions: Sequence[VersionInfo], spec: str, where: Path) -> VersionInfo:
    matching = [version for version in versions if spec and version.name.startswith(spec)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        newest = versions[-1].name
        raise VersionNotFoundError(
            f"{where}: no version {spec!r}", hint=f"`vh5d log` lists them; the newest is {newest!r}"
        )
    names = ", ".join(version.name for version in matching[:CANDIDATES_SHOWN])
    more = ", …" if len(matching) > CANDIDATES_SHOWN else ""
    raise AmbiguousVersionError(
        f"{where}: {spec!r} could be {names}{more}", hint="write more of the name"
    )


def _read(name: str, attributes: Any, image: Any, tags: Mapping[int, Sequence[str]]) -> VersionInfo:
    def number(key: str) -> int | None:
        return int(image[key]) if key in image else None

    def text(key: str) -> str | None:
        return str(image[key]) if key in image else None

    source = text("source_path")
    sequence = int(attributes.get("sequence", 0))
    return VersionInfo(
        name=name,
        timestamp=datetime.strptime(attributes["timestamp"], TIMESTAMP_FORMAT).astimezone(UTC),
        sequence=sequence,
        prev_version=str(attributes["prev_version"]),
        bytes_added=number("bytes_added"),
        source_path=Path(source) if source is not None else None,
        source_size=number("source_size"),
        source_mtime_ns=number("source_mtime_ns"),
        source_mode=number("source_mode"),
        host=text("host"),
        cause=text("cause"),
        digest=text("digest"),
        kept_as=text("kept_as"),
        tags=tuple(tags.get(sequence, ())),
    )
