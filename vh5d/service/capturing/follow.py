"""A renamed source takes its history along: its store gets the new name's place."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.locks import deadline_after
from vh5d.hdf5.writer_lock import WriterLock
from vh5d.policy import Policy

#: Seconds to wait for another writer of the store.
TIMEOUT = 10.0

log = structlog.stdlib.get_logger(__name__)


def follow_rename(
    policy: Policy, source: Path, target: Path, *, before: Policy | None = None
) -> bool:
    """Move the store of `source` to where the store of `target` belongs.

    Nothing is moved when a file is again at `source` (it goes on under its old name, as after
    ``mv a b; h5repack b a``), when `target` has a store already, or when `source` is not the
    policy's. No store is ever overwritten: both are locked when the new name is given.

    Parameters
    ----------
    policy
        That of `target`.
    source, target
        The names that the file had, and has.
    before
        The policy of `source`, if it is another one.

    Returns
    -------
    bool
        The store was moved.

    Raises
    ------
    StoreBusyError
        Somebody writes one of the stores.
    """
    before = before or policy
    if os.path.lexists(source) or not before.matches(source):
        return False
    old, new = before.store_for(source), policy.store_for(target)
    if not old.exists() or new.exists():
        return False
    new.parent.mkdir(parents=True, exist_ok=True)
    held = AtomicFile.open(old, timeout=TIMEOUT)
    try:
        moved = _rename(old, new)
    finally:
        held.close()
    if moved:
        log.info("history follows", path=str(target), before=str(source), store=str(new))
    return moved


def _rename(old: Path, new: Path) -> bool:
    lock = WriterLock.acquire(new, deadline_after(TIMEOUT))
    try:
        if new.exists():
            return False
        old.rename(new)
        disk = Disk()
        disk.sync_directory(new.parent)
        disk.sync_directory(old.parent)
    except OSError as error:
        log.warning("history stays under the old name", store=str(old), error=str(error))
        return False
    finally:
        lock.release()
    return True
