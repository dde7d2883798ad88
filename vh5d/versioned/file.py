"""`VersionedHDF5File`: the history of an HDF5 file, from Python."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from vh5d.hdf5.handles import read_text
from vh5d.interop.moving import undo_left
from vh5d.store import chain, layout
from vh5d.store.seals import hand_on
from vh5d.versioned import history
from vh5d.versioned.backing import Backing, open_backing
from vh5d.versioned.commit import Commit
from vh5d.versioned.difference import Difference, difference
from vh5d.versioned.group import InMemoryGroup
from vh5d.versioned.stage import Stage
from vh5d.versioned.times import as_utc


class VersionedHDF5File:
    """The versions in an HDF5 file.

    Parameters
    ----------
    f
        An open `h5py.File`, of any driver; an empty one, or one without versions, is prepared for
        them if it is writable. It stays the caller's: closing this object leaves it open.

    Raises
    ------
    NotAStoreError
        There are no versions in the file and it is read-only, or they are of a format that is not
        known.

    Notes
    -----
    A commit to a caller's own file is not atomic: the driver is theirs. `vh5d.open` is.

    Examples
    --------
    >>> versioned_file = VersionedHDF5File(h5py.File('filename.h5', 'w'))  # doctest: +SKIP
    >>> with versioned_file.stage_version('version2') as group:            # doctest: +SKIP
    ...     group['mydataset'] = np.ones(10000)
    """

    def __init__(self, f: h5py.File) -> None:
        if f.mode == "r+":
            undo_left(f)
            if layout.ROOT not in f:
                layout.initialise(f)
        layout.check(f, Path(os.fsdecode(f.filename)), theirs=True)
        self._backing: Backing | None = Backing(f)

    @classmethod
    def open(cls, path: str | os.PathLike[str], mode: str = "r", *, timeout: float = 30.0) -> Self:
        """Open a file of versions so that commits are atomic; `vh5d.open`."""
        opened = cls.__new__(cls)
        opened._backing = open_backing(Path(path), mode, timeout=timeout)  # noqa: SLF001
        return opened

    # The file

    @property
    def f(self) -> h5py.File:
        """The file in h5py.

        Raises
        ------
        ValueError
            It is closed.
        """
        return self._open().file

    @property
    def closed(self) -> bool:
        """Whether this object or the file was closed."""
        return self._backing is None or not self._backing.file

    def close(self) -> None:
        """Let the file go: a caller's own stays open, one from `vh5d.open` is closed."""
        backing, self._backing = self._backing, None
        if backing is not None:
            backing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        backing = self._backing
        self.close()
        if backing is not None:
            backing.explain(error)

    def __repr__(self) -> str:
        if self.closed:
            return f"<Closed {type(self).__name__}>"
        return f'<{type(self).__name__} object "{self._open().name}" (mode {self.f.mode})>'

    def _open(self) -> Backing:
        if self._backing is None or self.closed:
            raise ValueError("File is closed")
        return self._backing

    @property
    def _versions(self) -> h5py.Group:
        return self.f[layout.VERSIONS]

    @property
    def data_version_identifier(self) -> int:
        """The version of the format, as versioned-hdf5 counts them."""
        return layout.data_version(self.f)

    # Versions

    @property
    def current_version(self) -> str:
        """Name of the version that the next one is based on, and that ``[0]`` is.

        Setting it raises ValueError if there is no such version.
        """
        return _current(self._versions)

    @current_version.setter
    def current_version(self, version_name: str) -> None:
        if version_name not in self._versions:
            raise ValueError(f"Version {version_name!r} not found")
        with self._open().transaction() as area:
            area.file[layout.VERSIONS].attrs["current_version"] = version_name

    @property
    def versions(self) -> list[str]:
        """Names of all versions, in the order in which they were made."""
        return history.names(self._versions)

    def __iter__(self) -> Iterator[str]:
        return iter(self.versions)

    def __len__(self) -> int:
        return len(self._versions) - 1

    def __contains__(self, version_name: object) -> bool:
        return isinstance(version_name, str) and version_name in self.versions

    def __getitem__(self, item: str | int | datetime | np.datetime64 | None) -> h5py.Group:
        """Return a version.

        Parameters
        ----------
        item
            Its name; None or 0 for the current version, -1 for the one before it, and so on; a
            time, for the version of that time or the last before it.

        Raises
        ------
        KeyError
            There is no such version, or `item` is of another type.
        IndexError
            A number is positive, or goes back behind the first version.
        ValueError
            A name begins with ``/``, a time is not in UTC, the file is closed.
        """
        if item is None:
            return self.get_version_by_name(self.current_version)
        if isinstance(item, str):
            return self.get_version_by_name(item)
        if isinstance(item, int | np.integer):
            if item > 0:
                raise IndexError("Integer version slice must be negative")
            name = history.nth_previous(self._versions, self.current_version, -int(item))
            return self.get_version_by_name(name)
        if isinstance(item, datetime | np.datetime64):
            return self.get_version_by_timestamp(item)
        raise KeyError(f"Don't know how to get the version for {item!r}")

    def get_version_by_name(self, version: str) -> h5py.Group:
        """Return a version by its name; ``''`` is the empty one before the first.

        Raises
        ------
        KeyError
            There is no such version.
        ValueError
            The name begins with ``/``, or the version is not committed.
        """
        if version.startswith("/"):
            raise ValueError("a version's name does not begin with '/': use f for the file itself")
        versions = self._versions
        name = version or layout.FIRST_VERSION
        if "/" in name or name not in versions:
            raise KeyError(f"Version {version!r} not found")
        group = versions[name]
        if self.f.mode == "r":
            return group
        return InMemoryGroup(group.id)

    def get_version_by_timestamp(
        self,
        timestamp: datetime | np.datetime64,
        exact: bool = False,  # noqa: FBT001, FBT002
    ) -> h5py.Group:
        """Return the version of a time, or the last before it.

        Parameters
        ----------
        timestamp
            A datetime in UTC, or a datetime64, which is taken to be in UTC.
        exact
            Whether only a version of just that time will do.

        Raises
        ------
        KeyError
            There is no such version.
        ValueError, TypeError
            `timestamp` is not in UTC, or not a time.
        """
        return self.get_version_by_name(history.at_time(self._versions, timestamp, exact=exact))

    @contextmanager
    def stage_version(
        self,
        version_name: str | None,
        prev_version: str | None = None,
        make_current: bool = True,  # noqa: FBT001, FBT002
        timestamp: datetime | np.datetime64 | None = None,
    ) -> Iterator[InMemoryGroup]:
        """Stage a new version: a group to be changed, committed when the block ends.

        If the block raises, the file is as it was.

        Parameters
        ----------
        version_name
            Its name; None for one that is made up.
        prev_version
            Name of the version that it begins as: the current one if None, an empty one if ``''``.
        make_current
            Whether it becomes the current version.
        timestamp
            Its time, a datetime in UTC or a datetime64; the time of the commit if None.

        Raises
        ------
        ValueError
            The name is taken or has a ``/``, there is no version `prev_version`, the time is not in
            UTC, the file is closed or read-only.
        StoreBusyError, StoreConflictError, StoreWriteError
            It cannot be committed. The file is as it was.
        """
        backing, versions = self._open(), self._versions
        if not backing.writable:
            raise ValueError(f"{backing.name} is open for reading only")
        name = str(uuid.uuid4()) if version_name is None else version_name
        history.check_new(versions, name)
        previous = _current(versions) if prev_version is None else prev_version
        previous = previous or layout.FIRST_VERSION
        if previous not in versions:
            raise ValueError(f"Previous version {previous!r} not found")
        when = None if timestamp is None else as_utc(timestamp)
        with backing.moved(), backing.telling():
            versions = self._versions  # they may have moved
            stage = Stage(backing.file, versions[previous], name, backing.drafts)
            made: dict[int, Any] = {}
            try:
                group = InMemoryGroup(stage.root.id, stage)
                yield group
                made = self._commit(stage, previous, when, make_current=make_current)
            finally:
                stage.close(made)

    def _commit(
        self, stage: Stage, previous: str, when: datetime | None, *, make_current: bool
    ) -> dict[int, Any]:
        backing = self._open()
        stage.check()
        history.check_new(self._versions, stage.name)
        with backing.transaction() as area:
            commit = Commit(stage, area, backing.graph)
            made = commit.run()
            area.finish_version(
                stage.name,
                previous=previous,
                timestamp=when or datetime.now(UTC),
                make_current=make_current,
                made=commit.made(),
            )
            stage.check()
        for line in (*stage.lost, *commit.lost):
            warnings.warn(f"version {stage.name!r}: {line}", stacklevel=5)
        return made

    def __delitem__(self, item: object) -> None:
        """Delete a version; those based on it are then based on the one before it.

        Raises
        ------
        KeyError
            There is no such version.
        NotImplementedError
            `item` is not a name.
        """
        if not isinstance(item, str):
            raise NotImplementedError("del is only supported for string keys")
        if item not in self:
            raise KeyError(item)
        backing = self._open()
        backing.forget()
        with backing.transaction() as area:
            versions = area.file[layout.VERSIONS]
            before = versions[item].attrs["prev_version"]
            others = {
                name: str(versions[name].attrs["prev_version"])
                for name in history.names(versions)
                if name != item
            }
            hand_on(area.file, {item: str(before)}, others)
            for name in history.names(versions):
                if versions[name].attrs["prev_version"] == item:
                    versions[name].attrs["prev_version"] = before
            if versions.attrs["current_version"] == item:
                versions.attrs["current_version"] = before
            chain.mark_dropped(area.file, [int(versions[item].attrs["sequence"])])
            del versions[item]
            images = area.file[layout.IMAGES]
            if item in images:
                del images[item]
        backing.forget()

    def get_diff(self, name: str, version1: str, version2: str) -> Difference:
        """Return what differs in a dataset between two versions.

        Parameters
        ----------
        name
            Path of the dataset in both.
        version1, version2
            Names of the versions.

        Returns
        -------
        dict
            For every chunk that differs, by its place (an `ndindex.Tuple` of slices), the values in
            both versions; None in the place of values that one of them does not have.
        """
        backing = self._open()
        groups = [h5py.Group(self.get_version_by_name(each).id) for each in (version1, version2)]
        return difference(backing.reader(), groups[0][name], groups[1][name])


def _current(versions: h5py.Group) -> str:
    return read_text(versions.id, b"current_version")
