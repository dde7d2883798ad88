"""A store, open for reading."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py

from vh5d.errors import (
    NotAStoreError,
    StoreDamagedError,
    StoreError,
    StoreMissingError,
)
from vh5d.hdf5.locks import deadline_after, wait_until
from vh5d.hdf5.recovery import recover
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.source_file import SourceFile
from vh5d.store import layout, versions
from vh5d.store.pools import Pools, open_pools
from vh5d.store.versions import VersionInfo


@dataclass
class StoreReader:
    """A store open for reading, as a context manager.

    While it is open a writer waits before it applies a commit, so keep it short.

    Attributes
    ----------
    file
        The store, by plain h5py.
    recovered
        What had to be done about a commit that died here, or None.
    """

    path: Path
    file: h5py.File
    recovered: str | None = None
    _fd: int = field(default=-1, repr=False)

    def __post_init__(self) -> None:
        # Not by its name: that may be another file's by now, of a store that was compacted.
        self._base = int(self.file.userblock_size)
        self._fd = os.dup(self.file.id.get_vfd_handle())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store."""
        self.file.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, address: int, nbytes: int) -> bytes:
        """Return bytes at an address, fewer at the end; safe to call from several threads."""
        offset = address + self._base
        # A damaged entry may ask for more than there is memory.
        there = max(0, os.fstat(self._fd).st_size - offset)
        return os.pread(self._fd, min(nbytes, there), offset)

    @cached_property
    def versions(self) -> list[VersionInfo]:
        """All versions, oldest first."""
        return versions.list_versions(self.file)

    @cached_property
    def pools(self) -> Pools:
        """The pools."""
        return open_pools(self.file)

    def resolve(self, spec: str) -> VersionInfo:
        """Return the version that a name, prefix, ``-1`` or ``@TIME`` means."""
        return versions.resolve(self.versions, spec, where=self.path)

    def tree(self, version: VersionInfo) -> h5py.Group:
        """Return a version's group."""
        return self.file[f"{layout.VERSIONS}/{version.name}"]


def open_store(
    path: str | os.PathLike[str], *, timeout: float = 30.0, theirs: bool = False
) -> StoreReader:
    """Open a store for reading; finish or undo first what a crash left of a commit.

    Parameters
    ----------
    path
        The store.
    timeout
        How long to wait for other users of the store, in seconds.
    theirs
        Whether a file of versioned-hdf5 will do, which has versions and nothing else of a store.

    Raises
    ------
    StoreMissingError, NotAStoreError, StoreDamagedError, StoreBusyError
    """
    store = Path(path)
    if not store.is_file():
        raise StoreMissingError(f"{store}: there is no such store")
    file, recovered = _open(store, timeout)
    try:
        layout.check(file, store, theirs=theirs)
        return StoreReader(store, file, recovered)
    except StoreError:
        file.close()
        raise
    except H5PY_ERRORS as error:
        file.close()
        raise StoreDamagedError(
            f"{store}: what it says of itself cannot be read: {error}",
            hint="get it back from a backup",
        ) from error
    except BaseException:
        file.close()
        raise


def _open(store: Path, timeout: float) -> tuple[h5py.File, str | None]:
    deadline = deadline_after(timeout)
    opened: list[h5py.File] = []
    recovered: str | None = None

    def attempt() -> bool:
        nonlocal recovered
        recovered = recover(store, timeout=max(0.0, deadline - time.monotonic())) or recovered
        try:
            opened.append(h5py.File(store, "r"))
        except BlockingIOError:
            return False
        except PermissionError as error:
            raise StoreError(f"{store}: may not be read: {error.strerror}") from error
        except OSError as error:
            raise _refusal(store, error) from error
        return True

    wait_until(attempt, deadline, lambda: f"{store}: a commit is being applied")
    return opened[0], recovered


def _refusal(store: Path, error: OSError) -> StoreError:
    """Return why HDF5 cannot open a file that is said to be a store."""
    with SourceFile(store) as file:
        if file.superblock() is None:
            return NotAStoreError(
                f"{store}: not an HDF5 file", hint="name the source file, or its store"
            )
    return StoreDamagedError(
        f"{store}: HDF5 cannot open it: {error}", hint="get it back from a backup"
    )
