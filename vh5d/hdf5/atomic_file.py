"""A store that changes all at once or not at all, as a file object under h5py's `fileobj` driver.

    with AtomicFile.open(path) as store:
        with h5py.File(store, "r+") as file:
            ...
        store.commit()

Two rules bind what HDF5 calls: never raise (h5py would die with a segmentation fault, so the first
error is kept and the commit refused), and never read or write short (HDF5 takes it for whole).
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

import numpy as np

from vh5d.errors import (
    StoreBusyError,
    StoreConflictError,
    StoreError,
    StoreWriteError,
    TargetExistsError,
)
from vh5d.hdf5.access import grant
from vh5d.hdf5.commit import Commit
from vh5d.hdf5.disk import Buffer, Disk, byte_view, close_synced, refusals, write_error
from vh5d.hdf5.journal import journal_path
from vh5d.hdf5.kept_error import without_frames
from vh5d.hdf5.locks import deadline_after, lock_holders, try_lock, wait_until
from vh5d.hdf5.punching import Progress, punch, returnable, taken
from vh5d.hdf5.ranges import Ranges
from vh5d.hdf5.recovery import (
    Recovered,
    open_store_file,
    read_superblock,
    recover,
    recover_locked,
)
from vh5d.hdf5.staged_file import StagedFile
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

__all__ = ["DEFAULT_TIMEOUT", "AtomicFile", "recover"]

DEFAULT_TIMEOUT = 30.0


class AtomicFile:
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
        self.path = path
        self.recovered = recovered
        self.error: BaseException | None = None
        self._fd = fd
        self._lock = lock
        self._disk = disk
        self._timeout = timeout
        self._temporary = temporary
        self._head = head
        self._staged = StagedFile(disk, fd, head.eof if head else 0)
        self._position = 0
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

    @property
    def base(self) -> int:
        """Committed end in bytes; what lies below is on the disk as it was committed."""
        return self._staged.base

    @property
    def size(self) -> int:
        """Size in bytes as staged."""
        return self._staged.size

    # Our own access, beside HDF5's.

    def pread(self, address: int, nbytes: int) -> bytes:
        """Staged bytes, zeros past the end; may be called from several threads.

        Raises
        ------
        StoreWriteError
            If the disk cannot be read.
        """
        buffer = bytearray(nbytes)
        with refusals(self.path):
            self._staged.read_into(memoryview(buffer), address)
        return bytes(buffer)

    def pwrite_staged(self, address: int, data: Buffer) -> None:
        """Write bytes where HDF5 allocated room for them; may be called from several threads.

        Parameters
        ----------
        address
            Absolute offset in the file. Room past the committed end costs no memory.
        data
            Any contiguous buffer.

        Raises
        ------
        StoreWriteError
            If the disk refuses; the commit is then refused too.
        """
        try:
            self._staged.write(byte_view(data), address)
        except OSError as error:
            self.error = self.error or error
            raise write_error(self.path, error) from error

    # What h5py calls.

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer from the current position, with zeros past the end."""
        view = memoryview(buffer).cast("B")
        try:
            self._staged.read_into(view, self._position)
        except BaseException as error:  # noqa: BLE001 - kept for commit
            self._keep(error)
            view[:] = bytes(len(view))
        self._position += len(view)
        return len(view)

    def read(self, nbytes: int = -1) -> bytes:
        """Bytes from the current position, as `readinto`; to the end without a number."""
        if nbytes < 0:
            nbytes = max(0, self.size - self._position)
        buffer = bytearray(nbytes)
        self.readinto(buffer)
        return bytes(buffer)

    def write(self, data: Buffer) -> int:
        """Stage bytes at the current position."""
        view = byte_view(data)
        try:
            self._staged.write(view, self._position)
        except BaseException as error:  # noqa: BLE001 - kept for commit
            self._keep(error)
        self._position += len(view)
        self._staged.size = max(self._staged.size, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Stage a new size: the current position without a number."""
        size = self._position if size is None else size
        try:
            self._staged.truncate(size)
        except BaseException as error:  # noqa: BLE001 - kept for commit
            self._keep(error)
        return size

    def _keep(self, error: BaseException) -> None:
        self.error = self.error or without_frames(error)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start, the current position or the end."""
        self._position = (0, self._position, self.size)[whence] + offset
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position

    def flush(self) -> None:
        """Nothing: only `commit` makes anything durable."""

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
        self._begin(new)

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

    def _begin(self, head: Superblock) -> None:
        self._head = head
        self._staged = StagedFile(self._disk, self._fd, head.eof)
        self._position = 0

    # What needs no journal: bytes that nothing names, and a whole other file.

    def returnable(self, ranges: Ranges) -> Ranges:
        """What of some ranges, whole blocks that are not holes yet, takes space on the disk.

        Parameters
        ----------
        ranges
            (n, 2) absolute offsets in the file.
        """
        with refusals(self.path):
            return returnable(self._fd, ranges)

    def taken(self, ranges: Ranges) -> int:
        """How many bytes of some ranges are in no hole.

        Parameters
        ----------
        ranges
            (n, 2) absolute offsets in the file.
        """
        with refusals(self.path):
            return taken(self._fd, ranges)

    def has_holes(self) -> bool:
        """Whether the file system can give back parts of a file."""
        past_the_end = self._disk.size(self._fd)
        with refusals(self.path):
            return punch(self._disk, self._fd, np.array([[past_the_end, past_the_end + 1]]))

    def return_space(self, ranges: Ranges, progress: Progress | None = None) -> bool:
        """Give bytes that nothing in the committed state names back to the file system.

        They read as zeros then. An interruption leaves some of it undone, and no harm.

        Parameters
        ----------
        ranges
            (n, 2) merged, absolute offsets below `base`.
        progress
            Called with bytes done and bytes in all.

        Returns
        -------
        False if the file system has no holes.

        Raises
        ------
        StoreWriteError
            If the disk refuses.
        StoreBusyError
            If somebody read the store all through the time allowed.
        StoreConflictError
            If somebody else changed the store since the last commit.
        """
        self.check()
        with refusals(self.path), self._exclusive():
            return punch(self._disk, self._fd, ranges, progress)

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
        with refusals(self.path), self._exclusive():
            self._spent = True
            replace_store(self._disk, new.path, self.path)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Nobody else has the store open, and it is the one that was committed last."""
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

    def explain(self, error: BaseException | None) -> None:
        """Raise what the disk refused, if it did, instead of an exception that came of it.

        HDF5 is given zeros where the disk cannot be read, and then finds the store damaged.

        Raises
        ------
        StoreWriteError
            If the disk refused anything since staging began.
        """
        if isinstance(error, StoreWriteError) or not isinstance(error, Exception):
            return
        if isinstance(self.error, OSError):
            raise write_error(self.path, self.error) from error
