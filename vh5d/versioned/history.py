"""Finding versions: by name, by place in the history, by time."""

from __future__ import annotations

from datetime import UTC, datetime

import h5py
import numpy as np

from vh5d.hdf5.handles import has_member
from vh5d.store import layout
from vh5d.store.versions import TIMESTAMP_FORMAT, list_versions
from vh5d.versioned.times import as_utc


def names(versions: h5py.Group) -> list[str]:
    """Return the names of all versions, in the order in which they were made."""
    if layout.is_theirs(versions.file):
        return [version.name for version in list_versions(versions.file)]
    return [name for name in versions if name != layout.FIRST_VERSION]


def check_new(versions: h5py.Group, name: str) -> None:
    """Refuse a name for a new version.

    Raises
    ------
    ValueError
        It is taken, empty, or has a ``/``.
    TypeError
        It is not text.
    """
    if not isinstance(name, str):
        raise TypeError(f"a version's name is text, not {type(name).__name__}")
    if name in ("", ".") or "/" in name:
        raise ValueError(f"{name!r} cannot be the name of a version")
    if has_member(versions.id, name):
        raise ValueError(f"There is already a version with the name {name}")


def nth_previous(versions: h5py.Group, name: str, n: int) -> str:
    """Return the version that is n steps before another.

    Raises
    ------
    IndexError
        There are fewer.
    """
    found = name
    for _ in range(n):
        found = str(versions[found].attrs["prev_version"])
        if found == layout.FIRST_VERSION:
            raise IndexError(f"{name!r} has fewer than {n} versions before it")
    return found


def time_of(version: h5py.Group) -> datetime:
    """Return the time of a version."""
    text = str(version.attrs["timestamp"])
    return datetime.strptime(text, TIMESTAMP_FORMAT).astimezone(UTC)


def at_time(
    versions: h5py.Group, timestamp: datetime | np.datetime64, *, exact: bool = False
) -> str:
    """Return the version of a time: the last that is not later.

    Raises
    ------
    KeyError
        There is none, or with `exact` none of just this time.
    """
    wanted = as_utc(timestamp)
    best: tuple[datetime, str] | None = None
    for name in names(versions):
        made = time_of(versions[name])
        if made == wanted:
            return name
        if not exact and made < wanted and (best is None or best[0] < made):
            best = made, name
    if best is None:
        raise KeyError(f"Version with timestamp {'' if exact else 'before '}{wanted} not found")
    return best[1]
