"""Thinning a store: versions go, and the space of what only they had comes back.

In this order, so that an interruption costs space at most, and that until the next time:

1. One commit: the versions are unlinked, and chunks that no other version has marked as dead.
2. Holes are punched where nothing lives any more.
3. One commit: datasets of `/spaces` that are all hole by now are unlinked; then holes again, where
   what HDF5 had for them lay between others.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from vh5d.errors import StoreBusyError
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.free_space import freed_space
from vh5d.hdf5.punching import Progress
from vh5d.hdf5.ranges import NONE, Ranges, intersect, merge, subtract, total
from vh5d.hdf5.store_space import has_holes, return_space, returnable, taken
from vh5d.store import layout
from vh5d.store.dropping import Chosen, Selection, drop, select
from vh5d.store.reachability import Reached, reach_all
from vh5d.store.transaction import Transaction, begin

NO_HOLES = "its file system cannot give back parts of a file: `vh5d compact` rewrites it"


@dataclass(frozen=True)
class PruneResult:
    """What pruning did, or would do.

    Attributes
    ----------
    dropped, kept
        Names of the versions that went and stayed, oldest first.
    chunks_dropped
        How many chunks no version has any more.
    bytes_returned
        How many bytes the store's file takes less on its disk, in whole blocks.
    bytes_left
        How many bytes at least nothing needs, and take space still: pieces of blocks, or all of it
        where there are no holes. `compact` gives them back.
    dry_run
        Whether nothing was done.
    returned
        Whether the space was given back, or would be.
    hint
        Why not, and what to do about it, in one line.
    """

    store: Path
    dropped: tuple[str, ...]
    kept: tuple[str, ...]
    chunks_dropped: int
    bytes_returned: int
    seconds: float
    dry_run: bool
    returned: bool = True
    hint: str | None = None
    bytes_left: int = 0


def prune(
    store: str | os.PathLike[str],
    chosen: Chosen,
    *,
    dry_run: bool = False,
    allow_empty: bool = False,
    tagged: bool = False,
    timeout: float = 30.0,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> PruneResult:
    """Drop versions of a store, and give back the space of what only they had.

    All of them are dropped in one commit, or none. The version before one that stays becomes the
    nearest one before that stays too; so does the current version, if it was dropped.

    Parameters
    ----------
    store
        The store.
    chosen
        Names of the versions to drop, or a function that says of a version whether to; nothing to
        drop is allowed: space that an earlier time could not give back is then given back.
    dry_run
        Only say what would be dropped, and how many bytes would come back. Takes the store's lock
        as if it were meant, and changes nothing.
    allow_empty
        Whether the last version may go, too.
    tagged
        Whether versions that have a tag may go.
    timeout
        How long to wait for other users of the store, in seconds.
    progress
        Called with bytes given back and bytes to give back; with zeros while these are sought.
        What it raises before anything is given back leaves the store as it was.
    disk
        What reads and writes.

    Raises
    ------
    VersionNotFoundError, UsageError
        A name is none, a version has a tag, or none would be left.
    StoreError
        The store cannot be used; it is as it was.
    """
    started = time.monotonic()
    path = Path(store)
    with begin(path, create=False, timeout=timeout, disk=disk) as transaction:
        job = _Job(transaction)
        job.stage(chosen, progress, allow_empty=allow_empty, tagged=tagged)
        if dry_run:
            job.foresee()
        else:
            job.commit(progress)
        return PruneResult(
            store=path,
            dropped=job.selection.dropped,
            kept=job.selection.kept,
            chunks_dropped=job.chunks_dropped,
            bytes_returned=job.bytes_returned,
            seconds=time.monotonic() - started,
            dry_run=dry_run,
            returned=job.hint is None,
            hint=job.hint,
            bytes_left=job.bytes_left,
        )


class _Job:
    selection: Selection
    reached: Reached
    chunks_dropped = 0
    bytes_returned = 0
    bytes_left = 0
    hint: str | None = None

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._atomic = transaction.atomic
        self._base = transaction.file.userblock_size
        self._freed = self._dead = NONE

    def stage(
        self, chosen: Chosen, progress: Progress | None, *, allow_empty: bool, tagged: bool
    ) -> None:
        """Find what goes and take it out."""
        transaction, file = self._transaction, self._transaction.file
        self.selection = select(file, chosen, allow_empty=allow_empty, tagged=tagged)
        self.reached = reach_all(
            file,
            transaction.read,
            transaction.pools,
            without=self.selection.dropped,
            check=(lambda: progress(0, 0)) if progress is not None else lambda: None,
        )
        self.chunks_dropped = drop(file, transaction.pools, self.selection, self.reached)
        self._empty = self.reached.spaces.untouched(self.reached.live)
        self._close(file)

    def _close(self, file: h5py.File) -> None:
        """Close the file; take note of what HDF5 has freed in it, and forgets now."""
        file.flush()
        freed = freed_space(file.id) + self._base
        before = self._content(freed)
        file.close()
        # HDF5 has no reason to put anything there when it closes a flushed file. See that it holds.
        same = [a == z for a, z in zip(before, self._content(freed), strict=True)]
        self._freed = merge(np.concatenate([self._freed, freed[np.array(same, bool)]]))

    def _content(self, ranges: Ranges) -> list[bytes]:
        return [self._atomic.pread(start, stop - start) for start, stop in ranges.tolist()]

    def foresee(self) -> None:
        """Say what committing would return."""
        holes = NONE
        if self._empty and has_holes(self._atomic):
            self._unlink_empty_spaces()
            holes = self._holes(tidied=True)
        elif has_holes(self._atomic):
            holes = self._holes(tidied=False)
        else:
            self._holes(tidied=False)
            self.hint = NO_HOLES
        self._settle(holes)
        self.bytes_left = taken(self._atomic, self._dead) - total(holes)

    def commit(self, progress: Progress | None) -> None:
        """Commit, give the space back, and tidy up."""
        holes = self._holes(tidied=False)
        self._settle(NONE)
        if progress is not None:
            progress(0, total(holes))  # may be told to go no further
        self._transaction.commit()
        if self._return(holes, progress) and self._empty:
            self._unlink_empty_spaces()
            holes = self._holes(tidied=True)
            self._settle(NONE)
            self._atomic.commit()
            self._return(holes, None)
        self.bytes_left = taken(self._atomic, self._dead)

    def _unlink_empty_spaces(self) -> None:
        """Unlink datasets of `/spaces` that nothing leads into: their names would pile up."""
        with h5py.File(self._atomic, "r+", libver=layout.LIBVER) as file:
            for name in self._empty:
                del file[layout.SPACES][name]
            self._close(file)

    def _holes(self, *, tidied: bool) -> Ranges:
        """Return what takes space and is dead below the end of the file that is staged.

        Parameters
        ----------
        tidied
            Whether empty spaces are unlinked. HDF5 may have put something else in their place, so
            of these only that is dead that it calls free.
        """
        spaces = self.reached.spaces
        dead = self.reached.dead
        if tidied:
            dead = subtract(dead, spaces.of(self._empty))
        end = min(self._atomic.size, self._atomic.base)
        dead = merge(np.concatenate([dead + self._base, self._freed]))
        self._dead = intersect(dead, np.array([[0, end]]))
        return returnable(self._atomic, self._dead)

    def _settle(self, holes: Ranges) -> None:
        """Count what comes back by holes, and by the end of the file coming nearer."""
        size, base = self._atomic.size, self._atomic.base
        cut = returnable(self._atomic, np.array([[size, base]]))
        self.bytes_returned += total(holes) + total(cut) - max(0, size - base)

    def _return(self, holes: Ranges, progress: Progress | None) -> bool:
        try:
            if not return_space(self._atomic, holes, progress):
                self.hint = NO_HOLES
                return False
        except StoreBusyError as error:
            self.hint = f"{error.message}: the next prune gives the space back"
            return False
        self.bytes_returned += total(holes)
        return True
