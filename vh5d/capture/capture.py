"""Source to version."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from vh5d.capture.hashing import Kept, Progress, keep
from vh5d.capture.home import settle_in
from vh5d.capture.options import CaptureOptions, CaptureResult, KeptAs, utc_now
from vh5d.capture.scan import Scan, scan
from vh5d.capture.stage import StagedTree, keep_aside, stage_tree
from vh5d.capture.watchful import WatchfulSource
from vh5d.errors import StoreWriteError
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.recovery import RECOVERED
from vh5d.store.blueprint import blueprint
from vh5d.store.images import Image, SourceFacts, read_image, write_image
from vh5d.store.pieces import Pieces, digest
from vh5d.store.transaction import Transaction, begin
from vh5d.store.versions import current_version

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
        job = _Job(watched, transaction, options, cause, progress)
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
        )


def _begin(
    watched: WatchfulSource, store: Path, options: CaptureOptions, disk: Disk | None
) -> Transaction:
    place = settle_in(store, watched.path)
    transaction = begin(place, timeout=options.timeout, mode=watched.store_mode, disk=disk)
    if transaction.atomic.path != place:
        transaction.__exit__(None, None, None)
        raise StoreWriteError(f"{store}: a link appeared in its path", hint="see who made it")
    return transaction


@dataclass
class _Job:
    source: WatchfulSource
    transaction: Transaction
    options: CaptureOptions
    cause: str
    progress: Progress | None
    kept_as: KeptAs = "tree"
    warnings: tuple[str, ...] = ()

    def run(self, clock: Callable[[], datetime]) -> str | None:
        transaction = self.transaction
        previous = current_version(transaction.file)
        before = read_image(transaction.file, previous)
        with scan(self.source, self.options, lambda: self._known(before, previous)) as found:
            self.kept_as, self.warnings = found.kept_as, found.problems
            kept = keep(
                self.source.file.pread_into,
                found.tiling.pieces,
                transaction.pools,
                transaction.chunks,
                threads=self.options.threads,
                progress=self.progress,
            )
            checksum = digest(self.source.size, found.tiling.pieces, kept.hashes)
            if before is not None and before.facts.digest == checksum:
                self.source.check_at_rest()
                return None
            version = f"v{transaction.next_sequence()}"
            bytes_count = self.options.significant == "bytes"
            staged = stage_tree(
                transaction, found, kept, version, previous, before, always=bytes_count
            )
            if not staged.changed:
                self.source.check_at_rest()
                return None
            self.warnings += staged.warnings
            facts = self._facts(checksum, found)
            image = _image(facts, found, kept, staged)
            group = write_image(transaction, version, image, previous)
            self.warnings += tuple(keep_aside(found, group))
            group.attrs["bytes_added"] = transaction.bytes_added
            transaction.finish_version(version, previous=previous, timestamp=clock())
            self.source.check_at_rest()
        transaction.commit()
        return version

    def _known(self, before: Image | None, previous: str) -> Pieces | None:
        if before is None:
            return None
        transaction = self.transaction
        return blueprint(transaction.read, transaction.file, transaction.pools, previous).pieces

    def _facts(self, checksum: str, found: Scan) -> SourceFacts:
        status = self.source.status
        return SourceFacts(
            path=str(self.source.path.absolute()),
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            mode=status.st_mode & 0o7777,
            host=socket.gethostname(),
            cause=self.cause,
            digest=checksum,
            kept_as=found.kept_as,
        )


def _image(facts: SourceFacts, found: Scan, kept: Kept, staged: StagedTree) -> Image:
    pieces, pages = found.tiling.pieces, found.tiling.pages
    chunks = found.tiling.chunks
    offsets = np.stack([pieces.offsets[chunks], pieces.nbytes[chunks]], axis=1)
    table = np.stack(
        [
            pieces.offsets[pages],
            pieces.nbytes[pages],
            pieces.pools[pages].astype(np.uint64),
            kept.rows[pages].astype(np.uint64),
        ],
        axis=1,
    )
    return Image(
        facts=facts,
        objects=staged.entries,
        fingerprints=staged.fingerprints,
        offsets=offsets,
        pages=table,
        pools=tuple(each.name for each in pieces.encodings),
    )


def _recovery_note(transaction: Transaction) -> tuple[str, ...]:
    if transaction.recovered is None:
        return ()
    return (RECOVERED[transaction.recovered],)
