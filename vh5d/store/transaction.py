"""One commit to a store file: durable as a whole, or not there at all."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py

from vh5d.errors import (
    StoreDamagedError,
    StoreMissingError,
    StoreWriteError,
    TargetExistsError,
)
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.store import layout
from vh5d.store.staging import StagingArea


class Transaction(StagingArea):
    """A commit to one store: nothing is visible before `commit`, nothing is left without it.

    Use it as a context manager; leaving the block without a `commit` throws the work away.

    Parameters
    ----------
    path
        The store.
    atomic
        Its bytes.
    file
        It, open in h5py.
    created
        Whether the store is new.
    """

    def __init__(self, path: Path, atomic: AtomicFile, file: h5py.File, *, created: bool) -> None:
        super().__init__(file, atomic)
        self.path = path
        self.atomic = atomic
        self.created = created

    @property
    def recovered(self) -> str | None:
        """What had to be done about a commit that died here before, or None."""
        return self.atomic.recovered

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _close(self.file)
        self.atomic.__exit__(kind, error, traceback)

    def commit(self) -> None:
        """Make it durable, all or nothing.

        Raises
        ------
        StoreWriteError, StoreBusyError, StoreConflictError
            The store is as it was.
        """
        self.chunks.flush()
        self.pools.write()
        try:
            self.file.close()
        except (OSError, RuntimeError) as error:
            self.atomic.abort()
            raise StoreWriteError(f"{self.path}: cannot be written: {error}") from error
        self.atomic.commit()


def _close(file: h5py.File) -> None:
    # What HDF5 writes when it closes goes where all that was not committed goes.
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


def begin(
    path: Path,
    *,
    create: bool = True,
    timeout: float = 30.0,
    mode: int = 0o644,
    disk: Disk | None = None,
) -> Transaction:
    """Begin a commit to the store at `path`, and make the store when there is none.

    Parameters
    ----------
    path
        The store.
    create
        Whether a store may be made.
    timeout
        How long to wait for another writer, in seconds.
    mode
        Permissions of a new store.
    disk
        What reads and writes.
    """
    if not path.exists():
        if not create:
            raise StoreMissingError(f"{path}: there is no such store")
        # Somebody may make it while we wait for the right to.
        with contextlib.suppress(TargetExistsError):
            return _begin_new(path, timeout=timeout, mode=mode, disk=disk)
    with contextlib.ExitStack() as undo:
        atomic = undo.enter_context(AtomicFile.open(path, timeout=timeout, disk=disk))
        try:
            file = h5py.File(atomic, "r+", libver=layout.LIBVER)
        except OSError as error:
            raise StoreDamagedError(f"{path}: HDF5 cannot open the store: {error}") from error
        undo.callback(_close, file)
        layout.check(file, path)
        transaction = Transaction(path, atomic, file, created=False)
        undo.pop_all()
    return transaction


def _begin_new(path: Path, *, timeout: float, mode: int, disk: Disk | None) -> Transaction:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreWriteError(
            f"{path.parent}: cannot make the store's directory: {error.strerror}"
        ) from error
    with contextlib.ExitStack() as undo:
        new = AtomicFile.create(path, mode=mode, timeout=timeout, disk=disk)
        atomic = undo.enter_context(new)
        file = h5py.File(atomic, "w", libver=layout.LIBVER)
        undo.callback(_close, file)
        layout.initialise(file)
        transaction = Transaction(path, atomic, file, created=True)
        undo.pop_all()
    return transaction
