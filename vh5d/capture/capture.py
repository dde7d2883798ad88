"""Source to version."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from vh5d.capture.access import Access
from vh5d.capture.hashing import Progress
from vh5d.capture.home import settle_in
from vh5d.capture.job import Job
from vh5d.capture.options import CaptureOptions, CaptureResult, utc_now
from vh5d.capture.watchful import WatchfulSource
from vh5d.errors import SourceTooLargeError, StoreWriteError
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.recovery import RECOVERED
from vh5d.store.transaction import Transaction, begin

DEFAULTS = CaptureOptions()


def capture(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    options: CaptureOptions = DEFAULTS,
    cause: str = "snapshot",
    clock: Callable[[], datetime] = utc_now,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> CaptureResult:
    """Keep the present state of a source as a new version, unless it is the last one's.

    The source is only read, and never locked. Either the version is durable when this returns,
    or the store is as it was.

    Parameters
    ----------
    source
        The file. One that HDF5 cannot open is kept by its bytes.
    store
        The store; made when there is none.
    options
        How to go about it.
    cause
        Why: kept with the version.
    clock
        Tells the time.
    progress
        Called with bytes done and bytes in all.
    disk
        What reads and writes the store.

    Raises
    ------
    SourceError
        The source cannot be read, or is not at rest.
    StoreError
        The store cannot be used.
    """
    started = time.monotonic()
    with (
        WatchfulSource(Path(source), busy=options.busy, real=options.real) as watched,
        _begin(watched, Path(store), options, disk) as transaction,
    ):
        job = Job(watched, transaction, options, cause, progress)
        version = job.run(clock)
        return CaptureResult(
            source=Path(source),
            store=Path(store),
            version=version,
            changed=version is not None,
            bytes_added=transaction.bytes_added if version is not None else 0,
            source_bytes=watched.size,
            seconds=time.monotonic() - started,
            kept_as=job.kept_as,
            warnings=(*job.warnings, *_recovery_note(transaction)),
            read_bytes=job.read_bytes,
            companions=job.companions,
        )


def _begin(
    watched: WatchfulSource, store: Path, options: CaptureOptions, disk: Disk | None
) -> Transaction:
    _check_size(watched, options.file_size)
    place = settle_in(store, watched.path)
    access = Access.asked(options.store_mode, options.store_group)
    mode = watched.store_mode
    transaction = begin(place, timeout=options.timeout, mode=access.first_mode(mode), disk=disk)
    try:
        _check_place(transaction, place, store)
        transaction.atomic.grant(access.mode_of(mode, new=transaction.created), access.group)
    except BaseException:
        transaction.__exit__(None, None, None)
        raise
    return transaction


def _check_place(transaction: Transaction, place: Path, store: Path) -> None:
    if transaction.atomic.path != place:
        raise StoreWriteError(f"{store}: a link appeared in its path", hint="see who made it")


def _check_size(watched: WatchfulSource, most: int | None) -> None:
    if most is not None and watched.size > most:
        raise SourceTooLargeError(
            f"{watched.path}: {watched.size} bytes are more than the {most} that are captured",
            hint="raise limits.file_size",
        )


def _recovery_note(transaction: Transaction) -> tuple[str, ...]:
    if transaction.recovered is None:
        return ()
    return (RECOVERED[transaction.recovered],)
