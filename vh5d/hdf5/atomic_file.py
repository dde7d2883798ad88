"""A store that changes all at once or not at all, as a file object under h5py's `fileobj` driver.

with AtomicFile.open(path) as store:
    with h5py.File(store, "r+") as file:
        ...
    store.commit()
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from vh5d.errors import (
    StoreBusyError,
    StoreConflictError,
    StoreError,
    StoreWriteError,
    TargetExistsError,
)
from vh5d.hdf5.access import grant
from vh5d.hdf5.commit import Commit
from vh5d.hdf5.disk import Disk, close_synced, refusals, write_error
from vh5d.hdf5.file_object import FileObject
from vh5d.hdf5.journal import journal_path
from vh5d.hdf5.locks import deadline_after, lock_holders, try_lock, wait_until
from vh5d.hdf5.recovery import (
    Recovered,
    open_store_file,
    read_superblock,
    recover_locked,
)
from vh5d.hdf5.superblock import Superblock, find_superblock
from vh5d.hdf5.temporary import (
    make_replacement,
    make_temporary,
    publish,
    remove_replacement,
    remove_stale,
    replace_store,
    settle,
    settle_left,
)
from vh5d.hdf5.writer_lock import NoLock, WriterLock

DEFAULT_TIMEOUT = 30.0


class AtomicFile(FileObject):
    """A store being written; see `open` and `create`.

    Attributes
    ----------
    path
        The store, symbolic links resolved.
    recovered
        What opening it recovered from: "redone" (a commit that a crash interrupted was finished),
        "dropped" (one was taken back), "cut" (bytes that no commit reached were cut off), or None.
    error
        What went wrong first since staging began; `commit` refuses for it.
    """

    def __init__(
        self,
        path: Path,
        fd: int,
        lock: WriterLock | NoLock,
        *,
        disk: Disk,
        timeout: float,
        temporary: Path | None = None,
        head: Superblock | None = None,
        recovered: Recovered | None = None,
    ) -> None:
        super().__init__(path, disk, fd, head.eof if head else 0)
        self.recovered = recovered
        self._lock = lock
        self._timeout = timeout
        self._temporary = temporary
        self._head = head
        self._spent = False
        self._interrupted = False
        self._closed = False

    @classmethod
    def open(
        cls, path: Path | str, *, disk: Disk | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> Self:
        """Open a store for writing: take its writer lock, recover what a crash left.

        Parameters
        ----------
        path
            The store.
        disk
            What reads and writes; the real disk if None.
        timeout
            Seconds to wait for other writers here, and for readers in `commit`.

        Raises
        ------
        StoreMissingError, NotAStoreError, StoreDamagedError
            If there is no store, or it is something else, or shorter than it says.
        StoreBusyError
            If somebody else still writes it when the time is over.
        StoreWriteError
            If it may not be written, or the disk refuses.
        """
        disk = disk or Disk()
        store = Path(os.path.realpath(path))
        deadline = deadline_after(timeout)
        close_synced(disk, open_store_file(disk, store, os.O_RDONLY))
        with contextlib.ExitStack() as undo, refusals(store):
            lock = WriterLock.acquire(store, deadline)
            undo.callback(lock.release)
            fd = open_store_file(disk, store, os.O_RDWR)
            undo.callback(close_synced, disk, fd)
            recovered = recover_locked(disk, store, fd, deadline)
            settle_left(disk, store, os.fstat(fd).st_nlink)
            # Readers share this lock; whoever writes without knowing of vh5d is kept out.
            wait_until(
                lambda: try_lock(fd, fcntl.LOCK_SH),
                deadline,
                lambda: f"{store} is held open for writing by {lock_holders(fd)}",
            )
            head = read_superblock(disk, store, fd)
            undo.pop_all()
        return cls(store, fd, lock, disk=disk, timeout=timeout, head=head, recovered=recovered)

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        mode: int = 0o644,
        disk: Disk | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Self:
        """Begin a new store in a temporary file beside it; `commit` gives it its name.

        Parameters
        ----------
        path
            The store; its directory exists.
        mode
            Its permissions, before the process's umask.
        disk, timeout
            As in `open`.

        Raises
        ------
        TargetExistsError
            If there is a file of that name.
        StoreBusyError
            If somebody else is creating it, still when the time is over.
        StoreWriteError
            If the disk refuses.
        """
        disk = disk or Disk()
        store = Path(os.path.realpath(path))
        with contextlib.ExitStack() as undo, refusals(store):
            lock = WriterLock.acquire(store, deadline_after(timeout))
            undo.callback(lock.release)
            if os.path.lexists(store):
                raise TargetExistsError(f"{store} exists", hint="open it instead")
            remove_stale(disk, store)
            # Of a store that is no more.
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(journal_path(store))
                # Or it might come back, and find the new one.
                disk.sync_directory(store.parent)
            temporary, fd = make_temporary(disk, store, mode)
            undo.pop_all()
        return cls(store, fd, lock, disk=disk, timeout=timeout, temporary=temporary)

    @property
    def fd(self) -> int:
        """Its file descriptor."""
        return self._fd

    @property
    def disk(self) -> Disk:
        """What reads and writes."""
        return self._disk

    def grant(self, mode: int | None, group: int | None) -> None:
        """Let others read the store, or no longer: at once, without a commit.

        Parameters
        ----------
        mode
            Permission bits; None: as they are.
        group
            Group number; None: as it is.

        Raises
        ------
        StoreWriteError
            This process may not.
        """
        if mode is not None or group is not None:
            with refusals(self.path):
                grant(self._fd, mode, group)

    # The end of what was staged.

    def commit(self) -> None:
        """Make what was staged the store's new state, durably; then staging begins anew.

        The h5py.File must be closed first. If it returns, the new state survives a power cut; if
        it raises, the store holds the old state or, after a fault of the disk, perhaps the new one.

        Raises
        ------
        StoreWriteError
            If the disk refused anything since staging began, or does now. The store must be opened
            again.
        StoreBusyError
            If somebody read the store all through the time allowed; may be tried again.
        StoreConflictError
            If somebody else changed, or created, the store. It must be opened again.
        """
        self.check()
        new = self._clean_superblock()
        if self._head is not None and not self._staged.changed:
            return
        try:
            with refusals(self.path):
                if self._head is not None:
                    self._replace(self._head, new)
                else:
                    self._publish(new)
        except StoreBusyError:
            raise
        except BaseException:
            self._spent = True
            raise
        self._head = new
        self._begin(new.eof)

    def check(self) -> None:
        """Raise what went wrong since staging began: what HDF5 does then leads nowhere.

        Raises
        ------
        StoreWriteError
            If the disk refused anything.
        """
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        if self.error is not None:
            if isinstance(self.error, OSError):
                raise write_error(self.path, self.error) from self.error
            raise self.error
        if self._spent:
            raise StoreWriteError(
                f"{self.path}: an earlier commit failed", hint="open the store again"
            )

    def _clean_superblock(self) -> Superblock:
        """The staged superblock, its consistency flags cleared."""
        found = find_superblock(self.pread, self.size)
        if found is None or not found.intact:
            raise StoreWriteError(
                f"{self.path}: what was staged is not an HDF5 file",
                hint="close the h5py.File first",
            )
        if not found.status_flags:
            return found
        clean = found.with_status_flags(0)
        self.pwrite_staged(found.offset, clean)
        return replace(found, status_flags=0, raw=clean)

    def _replace(self, head: Superblock, new: Superblock) -> None:
        commit = Commit(self._disk, self.path, self._fd, staged=self._staged, head=head, new=new)
        try:
            commit.run(deadline_after(self._timeout))
        finally:
            self._interrupted = commit.interrupted
        self.error = commit.leftover

    def _publish(self, new: Superblock) -> None:
        self._disk.ftruncate(self._fd, new.eof)
        self._disk.fsync(self._fd)
        if self._temporary is not None:
            witness = publish(self._disk, self._temporary, self.path)
            # It is a store from now on, which is not to be cut off if this fails.
            self._temporary, self._interrupted = None, True
            settle(self._disk, witness, self.path)
            self._interrupted = False
        try_lock(self._fd, fcntl.LOCK_SH)

    # What needs no journal.

    @contextlib.contextmanager
    def replacement(self) -> Iterator[AtomicFile]:
        """Begin a file beside the store that is to take its place; see `replace_by`.

        It is removed if it did not when the block ends; after a crash the next writer does that.

        Yields
        ------
        AtomicFile
            To be filled and committed.

        Raises
        ------
        StoreWriteError
            If the disk refuses.
        """
        with refusals(self.path):
            path, fd = make_replacement(self._disk, self.path, os.fstat(self._fd))
        try:
            with AtomicFile(path, fd, NoLock(), disk=self._disk, timeout=self._timeout) as new:
                yield new
        finally:
            remove_replacement(self._disk, self.path)

    def replace_by(self, new: AtomicFile) -> None:
        """Put a committed replacement in the store's place, in one step.

        This file cannot be committed any more; close it, and open the store again.

        Raises
        ------
        StoreWriteError, StoreBusyError, StoreConflictError
            As `commit` does.
        """
        self.check()
        with refusals(self.path), self.exclusive():
            self._spent = True
            replace_store(self._disk, new.path, self.path)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else has the store open, and it is the one that was committed last.

        Raises
        ------
        StoreBusyError
            If somebody read the store all through the time allowed.
        StoreConflictError
            If somebody else changed the store since the last commit.
        """
        wait_until(
            lambda: try_lock(self._fd, fcntl.LOCK_EX),
            deadline_after(self._timeout),
            lambda: f"{self.path} is held open by {lock_holders(self._fd)}",
        )
        try:
            found = read_superblock(self._disk, self.path, self._fd)
            if self._head is None or found.raw != self._head.raw:
                raise StoreConflictError(
                    f"{self.path} was changed by somebody else meanwhile",
                    hint="start again from it",
                )
            yield
        finally:
            try_lock(self._fd, fcntl.LOCK_SH)

    def abort(self) -> None:
        """Forget what was staged; the h5py.File must be closed first.

        Raises
        ------
        StoreWriteError
            If the disk refuses. The store is as it was committed last all the same.
        """
        if self._closed:
            return
        self._staged.forget()
        self._position = 0
        if not self._spent:
            self.error = None
        with refusals(self.path):
            self._cut()

    def _cut(self) -> None:
        """Cut off what was appended, unless that is recovery's, or somebody else's, by now."""
        if self._interrupted:
            return
        if self._head is None:
            self._disk.ftruncate(self._fd, 0)
        else:
            found = read_superblock(self._disk, self.path, self._fd)
            if found.raw == self._head.raw and self._disk.size(self._fd) > self.base:
                self._disk.ftruncate(self._fd, self.base)

    def close(self) -> None:
        """Forget what was not committed and let others write; may be called again."""
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as stack:
            stack.callback(self._lock.release)
            stack.callback(close_synced, self._disk, self._fd)
            # HDF5 may still write: when an h5py.File is collected that nobody closed.
            self._staged.leave()
            # What is left behind the committed end is cut off by the next writer, as after a crash.
            stack.enter_context(contextlib.suppress(OSError, StoreError))
            if self._temporary is not None:
                self._disk.unlink(self._temporary)
            else:
                self._cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self.explain(error)
