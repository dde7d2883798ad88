"""The commit of staged changes to a store that exists: all of them, or none.

What must hold (data loss otherwise), in this order:

1. The appended bytes are durable before anything names them.
2. Nobody reads the store while it changes (an exclusive flock), and it is still what staging
   started from.
3. The consistency flag is durable before the journal can be: from then on plain HDF5 refuses the
   store, whatever a crash leaves of it.
4. The journal is durable, with its name, before the first page is overwritten.
5. The pages are durable before the superblock clears the flag, and that before the journal goes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from vh5d.errors import StoreConflictError
from vh5d.hdf5.access import share_alike
from vh5d.hdf5.disk import Disk, close_synced, write_fully
from vh5d.hdf5.journal import PAGE, Journal, journal_path, superblock_digest
from vh5d.hdf5.locks import lock_holders, try_lock, wait_until
from vh5d.hdf5.recovery import read_superblock
from vh5d.hdf5.staged_file import StagedFile
from vh5d.hdf5.superblock import Superblock

_WRITING = 0x01


class Commit:
    """One attempt to commit.

    Parameters
    ----------
    disk, store, fd
        The store, open for reading and writing, with its writer lock held.
    staged
        What to commit.
    head
        The store's superblock when staging began.
    new
        The staged superblock.

    Attributes
    ----------
    interrupted
        Whether the store was left for recovery to sort out: it must not be touched otherwise.
    leftover
        What went wrong when the commit was made already.
    """

    def __init__(
        self,
        disk: Disk,
        store: Path,
        fd: int,
        *,
        staged: StagedFile,
        head: Superblock,
        new: Superblock,
    ) -> None:
        self._disk = disk
        self._store = store
        self._fd = fd
        self._staged = staged
        self._head = head
        self._new = new
        self._journal_path = journal_path(store)
        self.interrupted = False
        self.leftover: OSError | None = None

    def run(self, deadline: float) -> None:
        """Commit.

        Raises
        ------
        StoreBusyError
            If somebody still reads the store at the deadline (monotonic time).
        StoreConflictError
            If somebody else changed the store since staging began.
        OSError
            If the disk refuses. Unless `interrupted`, the store is as it was.
        """
        self._disk.fdatasync(self._fd)
        try:
            wait_until(
                lambda: try_lock(self._fd, fcntl.LOCK_EX),
                deadline,
                lambda: f"{self._store} is held open by {lock_holders(self._fd)}",
            )
            self._check_head()
            self._apply(self._make_durable())
        finally:
            # Keeps foreign writers out while more is staged. Should one have come in between, the
            # next commit's look at the head tells.
            try_lock(self._fd, fcntl.LOCK_SH)

    def _check_head(self) -> None:
        found = read_superblock(self._disk, self._store, self._fd)
        if (found.offset, found.raw) != (self._head.offset, self._head.raw):
            raise StoreConflictError(
                f"{self._store} was changed by somebody else meanwhile", hint="start again from it"
            )

    def _make_durable(self) -> Journal:
        """Set the flag, then write the journal; take both back if that fails."""
        # While the superblock on the disk is as it shall be again: without the flag.
        self._staged.page(self._new.offset // PAGE)
        self.interrupted = True
        try:
            if self._head.status_flags is not None:
                self._write_head(_WRITING)
            journal = self._prepare()
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            # The journal holds what the store does: nobody else may read it.
            store = os.fstat(self._fd)
            fd = self._disk.open(self._journal_path, flags, store.st_mode & 0o707)
            try:
                share_alike(fd, store, store.st_mode & 0o777)
                journal.write(self._disk, fd)
                self._disk.fsync(fd)
            finally:
                close_synced(self._disk, fd)
            self._disk.sync_directory(self._store.parent)
        except BaseException:
            self._take_back()
            raise
        return journal

    def _prepare(self) -> Journal:
        new, staged = self._new, self._staged
        return Journal(
            base=staged.base,
            floor=staged.floor,
            size=new.eof,
            superblock_at=new.offset,
            superblock_nbytes=len(new.raw),
            before=superblock_digest(self._head),
            after=superblock_digest(new),
            pages=staged.pages,
        )

    def _write_head(self, flags: int) -> None:
        block = memoryview(self._head.with_status_flags(flags))
        write_fully(self._disk, self._fd, block, self._head.offset)
        self._disk.fdatasync(self._fd)

    def _take_back(self) -> None:
        # What cannot be taken back is what recovery is for; the first error is the one to tell of.
        with contextlib.suppress(OSError):
            # The journal goes first, and durably: it must never meet a store whose tail was cut.
            with contextlib.suppress(FileNotFoundError):
                self._disk.unlink(self._journal_path)
            self._disk.sync_directory(self._store.parent)
            if self._head.status_flags is not None:
                self._write_head(0)
            self.interrupted = False

    def _apply(self, journal: Journal) -> None:
        journal.apply(self._disk, self._fd)
        self.interrupted = False
        try:
            # Not durably: should a power cut bring it back, it finds itself applied.
            self._disk.unlink(self._journal_path)
        except OSError as error:
            self.leftover = error
