"""Version to file: the same bytes where they were kept, checked, in one rename."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vh5d.capture.hashing import Progress, ahead, cores
from vh5d.capture.rebuild import rebuild
from vh5d.capture.target import new_file
from vh5d.errors import StoreDamagedError, TargetExistsError
from vh5d.store.blueprint import Blueprint, blueprint
from vh5d.store.datasets import Read
from vh5d.store.pieces import digest
from vh5d.store.pools import HASH_NBYTES, Hashes, hash_chunk
from vh5d.store.reader import StoreReader, open_store
from vh5d.store.versions import VersionInfo


@dataclass(frozen=True)
class RestoreResult:
    """What a restore did.

    Attributes
    ----------
    nbytes
        The size of the file that came back.
    digest
        Its digest, the same as the version's.
    seconds
        How long it took.
    exact
        Whether it has the bytes of the file that was captured; else its content alone.
    warnings
        What of the content could not be copied, one line each.
    """

    target: Path
    version: str
    nbytes: int
    digest: str
    seconds: float
    exact: bool = True
    warnings: tuple[str, ...] = ()


def restore(
    store: str | os.PathLike[str],
    version: str,
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RestoreResult:
    """Make a version's file again, bit for bit.

    The file is written beside the target, checked against the digest that was taken at capture,
    given the source's permissions and modification time, and renamed into place.

    Of a version that is kept by its content (of a file that was growing, or with `exact` off), a
    new file is made with the same objects, attributes and values; its chunks are checked against
    their hashes first, and copied as they are stored.

    Parameters
    ----------
    store
        The store.
    version
        A name, a unique prefix of one, ``-1``, or ``@TIME``.
    target
        The file to make.
    overwrite
        Whether an existing target may be replaced.
    progress
        Called with bytes done and bytes in all.

    Raises
    ------
    TargetExistsError
        The target exists, and `overwrite` is false.
    VersionNotFoundError, AmbiguousVersionError
        No version, or several, are meant.
    StoreDamagedError
        The bytes are not those that were captured; nothing is left at the target.
    StoreWriteError
        The target's disk refused a write.
    """
    started = time.monotonic()
    path = Path(target)
    if not overwrite and os.path.lexists(path):
        raise TargetExistsError(f"{path}: exists already", hint="choose another, or say --force")
    with open_store(store) as reader:
        chosen = reader.resolve(version)
        plan = blueprint(reader.read, reader.file, reader.pools, chosen.name)
        facts = plan.image.facts
        exact = facts.kept_as != "content"
        warnings: list[str] = []
        with new_file(path, overwrite=overwrite) as (fd, name):
            if exact:
                found = _write(reader.read, plan, fd, progress)
            else:
                found = read_pieces(reader.read, plan, lambda _offset, _data: None, progress)
            _check(reader, chosen, plan, found)
            if not exact:
                warnings = rebuild(reader, chosen, name)
            nbytes = os.fstat(fd).st_size
            # Never set-user-ID: a program called x.h5 would run as whoever restores it.
            os.fchmod(fd, facts.mode & 0o777)
            os.utime(fd, ns=(facts.mtime_ns, facts.mtime_ns))
    return RestoreResult(
        target=path,
        version=chosen.name,
        nbytes=nbytes,
        digest=facts.digest,
        seconds=time.monotonic() - started,
        exact=exact,
        warnings=tuple(warnings),
    )


def read_pieces(
    read: Read,
    plan: Blueprint,
    take: Callable[[int, bytes], None],
    progress: Progress | None = None,
) -> Hashes:
    """Read every piece of a version, hand it on, and return the (m, 32) hashes.

    Parameters
    ----------
    read
        Reads the store.
    plan
        Where the pieces are.
    take
        Is given each piece's offset in the file and its bytes; called from several threads.
    progress
        Called with bytes done and bytes in all.
    """
    pieces = plan.pieces
    hashes = np.empty((len(pieces), HASH_NBYTES), np.uint8)
    total, done = int(pieces.nbytes.sum()), 0

    def work(batch: slice) -> tuple[slice, list[bytes]]:
        return batch, [_piece(read, plan, i, take) for i in range(batch.start, batch.stop)]

    for batch, digests in ahead(work, pieces.batches(), cores()):
        hashes[batch] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, HASH_NBYTES)
        done += int(pieces.nbytes[batch].sum())
        if progress is not None:
            progress(done, total)
    return hashes


def _piece(read: Read, plan: Blueprint, i: int, take: Callable[[int, bytes], None]) -> bytes:
    pieces = plan.pieces
    stored = read(int(plan.addresses[i]), int(plan.stored[i]))
    encoding = pieces.encodings[pieces.pools[i]]
    data = encoding.decode(stored, int(plan.masks[i]), int(pieces.padded[i]))
    digest_of_piece = hash_chunk(data)
    take(int(pieces.offsets[i]), data[: int(pieces.nbytes[i])])
    return digest_of_piece


def _write(read: Read, plan: Blueprint, fd: int, progress: Progress | None) -> Hashes:
    os.ftruncate(fd, plan.image.facts.size)

    def put(offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written

    return read_pieces(read, plan, put, progress)


def _check(reader: StoreReader, version: VersionInfo, plan: Blueprint, found: Hashes) -> None:
    if digest(plan.image.facts.size, plan.pieces, found) != plan.image.facts.digest:
        raise StoreDamagedError(
            f"{reader.path}: the bytes of version {version.name!r} are not those captured",
            hint=f"`vh5d verify {reader.path}` says which parts are affected",
        )
