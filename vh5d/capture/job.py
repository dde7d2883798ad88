"""One capture: from a source that is open to a version that is staged."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from vh5d.capture.carry import Last, known_pieces
from vh5d.capture.companions import foreign_files
from vh5d.capture.hashing import Kept, Progress, keep
from vh5d.capture.options import CaptureOptions, KeptAs
from vh5d.capture.parsed import Scan
from vh5d.capture.scan import scan
from vh5d.capture.stage import StagedTree, keep_aside, stage_tree
from vh5d.capture.throttle import Throttle
from vh5d.capture.watchful import WatchfulSource
from vh5d.store import layout
from vh5d.store.blueprint import blueprint
from vh5d.store.companions import Companion, read_companions, write_companions
from vh5d.store.images import Image, SourceFacts, read_image, write_image
from vh5d.store.pieces import Pieces, digest
from vh5d.store.transaction import Transaction
from vh5d.store.versions import current_version


@dataclass
class Job:
    """A capture under way.

    Parameters
    ----------
    source, transaction
        What is captured, and where to.
    options, cause, progress
        As for `capture`.

    Attributes
    ----------
    kept_as, warnings, read_bytes, companions
        As of `CaptureResult`, once it ran.
    """

    source: WatchfulSource
    transaction: Transaction
    options: CaptureOptions
    cause: str
    progress: Progress | None
    kept_as: KeptAs = "tree"
    warnings: tuple[str, ...] = ()
    read_bytes: int = 0
    rewrites: bool = False
    companions: tuple[Companion, ...] = ()

    def run(self, clock: Callable[[], datetime]) -> str | None:
        """Make a version durable, and return its name; None when nothing that counts changed."""
        transaction = self.transaction
        with scan(self.source, self.options, self._known) as found:
            self.kept_as, self.warnings = found.kept_as, found.problems
            kept = self._keep(found)
            checksum = digest(self.source.size, found.tiling.pieces, kept.hashes)
            self._follow(found)
            if self._is_known(found, checksum):
                self.source.check_at_rest()
                return None
            timestamp = clock()
            version = self._name(timestamp)
            staged = self._stage(found, kept, version)
            if not staged.changed:
                self.source.check_at_rest()
                return None
            self.warnings += staged.warnings
            image = _image(self._facts(checksum, found), found, kept, staged)
            group = write_image(transaction, version, image, self.previous)
            self.warnings += tuple(keep_aside(found, group))
            write_companions(transaction, group, self.companions, self.previous)
            group.attrs["bytes_added"] = transaction.bytes_added
            transaction.finish_version(version, previous=self.previous, timestamp=timestamp)
            self.source.check_at_rest()
        transaction.commit()
        return version

    @cached_property
    def previous(self) -> str:
        """Name of the version before."""
        return current_version(self.transaction.file)

    @cached_property
    def before(self) -> Image | None:
        """Its image."""
        return read_image(self.transaction.file, self.previous)

    def _known(self) -> Pieces | None:
        if self.before is None or self.before.facts.kept_as == "content":
            return None
        transaction = self.transaction
        plan = blueprint(transaction.read, transaction.file, transaction.pools, self.previous)
        return plan.pieces

    def _is_known(self, found: Scan, checksum: str) -> bool:
        """Whether the last version is of these very bytes, as far as a digest tells."""
        facts = self.before.facts if self.before is not None else None
        return (
            found.kept_as != "content"
            and facts is not None
            and facts.kept_as != "content"
            and facts.digest == checksum
            and not self._other_companions
        )

    def _follow(self, found: Scan) -> None:
        """Have the files kept that this one leads to."""
        if self.options.follow is None or found.parsed is None:
            return
        for path in foreign_files(found.parsed, self.source.path.absolute()):
            kept = self.options.follow(path)
            if isinstance(kept, str):
                self.warnings += (f"{path}: not followed: {kept}",)
            else:
                self.companions += (kept,)

    @cached_property
    def _other_companions(self) -> bool:
        """Whether the version goes with other states of other files than the one before.

        Their content counts, not their versions: two files that lead to each other would never
        come to rest.
        """
        if self.options.follow is None or self.before is None:
            return False
        known = read_companions(self.transaction.file, self.previous)
        now = {(each.path, each.digest) for each in self.companions}
        return now != {(each.path, each.digest) for each in known}

    def _stage(self, found: Scan, kept: Kept, version: str) -> StagedTree:
        # Bytes that are not kept do not count; nor those of what does not count.
        all_bytes = self.options.significant == "bytes" and found.exact
        became_exact = (
            found.exact and self.before is not None and self.before.facts.kept_as == "content"
        )
        in_any_case = became_exact or self._other_companions
        return stage_tree(
            self.transaction,
            found,
            kept,
            version,
            self.previous,
            self.before,
            always=all_bytes or in_any_case,
            counts=None if in_any_case else self.options.counts,
        )

    def _name(self, timestamp: datetime) -> str:
        sequence = self.transaction.next_sequence()
        if self.options.version_name is None:
            name = f"v{sequence}"
        else:
            name = self.options.version_name(sequence, timestamp)
        if name in self.transaction.file[layout.VERSIONS]:
            name = f"{name}-{sequence}"  # somebody else's, or of another template
        return name

    # Reading

    def _keep(self, found: Scan) -> Kept:
        pieces, last = found.tiling.pieces, self._last(found)
        if found.parsed is None or last is None:
            return self._read(pieces)
        self.rewrites = last.image.facts.rewrites
        known = known_pieces(
            found.parsed, pieces, found.tiling.chunks, last, self.transaction.next_sequence()
        )
        carried = np.zeros(len(pieces), bool) if self.rewrites else known.carried
        kept = Kept(known.kept.hashes.copy(), known.kept.rows.copy())
        self._read_some(pieces, ~carried, kept)
        audited = np.flatnonzero((known.kept.rows >= 0) & ~carried)
        if not (kept.hashes[audited] == known.kept.hashes[audited]).all():
            self.rewrites = True
            self._read_some(pieces, carried, kept)
        return kept

    def _last(self, found: Scan) -> Last | None:
        """Return the last version if it is of this file, as it grew."""
        before = self.before
        if not self.source.growing or found.parsed is None or before is None:
            return None
        if before.facts.inode != self.source.status.st_ino:
            return None
        transaction = self.transaction
        tree = transaction.file[layout.VERSIONS][self.previous]
        return Last(before, tree, transaction.read, transaction.pools)

    def _read_some(self, pieces: Pieces, which: np.ndarray, kept: Kept) -> None:
        chosen = np.flatnonzero(which)
        found = self._read(pieces.take(chosen))
        kept.hashes[chosen], kept.rows[chosen] = found.hashes, found.rows

    def _read(self, pieces: Pieces) -> Kept:
        self.read_bytes += int(pieces.nbytes.sum())
        read_into = self.source.file.pread_into
        if self.options.read_rate is not None:
            throttle = self._throttle

            def read_into(offset: int, view: memoryview) -> None:
                throttle.take(len(view))
                self.source.file.pread_into(offset, view)

        return keep(
            read_into,
            pieces,
            self.transaction.pools,
            self.transaction.chunks,
            threads=self.options.threads,
            progress=self.progress,
            twice=self.source.growing,
        )

    @cached_property
    def _throttle(self) -> Throttle:
        return Throttle(float(self.options.read_rate or 0))

    # What the version says of its file

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
            inode=status.st_ino if self.source.growing else None,
            rewrites=self.rewrites,
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
