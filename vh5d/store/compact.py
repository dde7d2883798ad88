"""Rewriting a store without what pruning left behind.

A new file is made beside the store, with what is in use, in order; it is checked as any store is;
then it takes the store's place in one step. An interruption at any time leaves the old store, and
perhaps a hidden file that the next writer removes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.store_space import taken
from vh5d.store import layout
from vh5d.store.datasets import Read
from vh5d.store.pools import Pools, open_pools
from vh5d.store.reachability import Reached, reach_all
from vh5d.store.rewriting import Progress, Rewriting, shared_datasets
from vh5d.store.verify import verify
from vh5d.store.versions import VersionInfo, list_versions


@dataclass(frozen=True)
class CompactResult:
    """What compacting did, or would do.

    Attributes
    ----------
    versions, chunks
        How many there are.
    bytes_before, bytes_after
        What the store takes on its disk. Of a dry run, the latter is what it would take at most:
        how much of HDF5's own space is in use shows only when the rest was left behind.
    dry_run
        Whether nothing was done.
    warnings
        What could not be copied, one line each: objects of others outside `/_version_data`.
    """

    store: Path
    versions: int
    chunks: int
    bytes_before: int
    bytes_after: int
    seconds: float
    dry_run: bool
    warnings: tuple[str, ...] = ()


def compact(
    store: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    timeout: float = 30.0,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> CompactResult:
    """Rewrite a store without dead space; every version is what it was.

    While that goes on the disk must hold the new store beside the old one.

    Parameters
    ----------
    store
        The store.
    dry_run
        Only say what would come back at least.
    timeout
        How long to wait for other users of the store, in seconds.
    progress
        Called with bytes copied and bytes to copy, then with bytes checked and to check; with
        zeros before. What it raises leaves the store as it was.
    disk
        What reads and writes.

    Raises
    ------
    StoreDamagedError
        The store is damaged, or what was written is not what it should be. It is as it was.
    StoreError
        The store cannot be used; it is as it was.
    """
    started = time.monotonic()
    path = Path(store)
    with AtomicFile.open(path, disk=disk, timeout=timeout) as old:
        before = path.stat().st_blocks * 512
        with _opened(old, progress) as content:
            chunks = sum(int(live.sum()) for live in content.reached.rows.values())
            warnings: list[str] = []
            if dry_run:
                dead = content.reached.dead + content.file.userblock_size
                after = before - taken(old, dead)
            else:
                warnings = _rewrite(old, content, progress)
                after = path.stat().st_blocks * 512
    return CompactResult(
        store=path,
        versions=len(content.versions),
        chunks=chunks,
        bytes_before=before,
        bytes_after=after,
        seconds=time.monotonic() - started,
        dry_run=dry_run,
        warnings=tuple(warnings),
    )


@dataclass(frozen=True)
class _Content:
    file: h5py.File
    read: Read
    pools: Pools
    reached: Reached
    versions: list[VersionInfo]


@contextmanager
def _opened(store: AtomicFile, progress: Progress | None) -> Iterator[_Content]:
    try:
        file = h5py.File(store, "r")
    except OSError as error:
        raise StoreDamagedError(f"{store.path}: HDF5 cannot open it: {error}") from error
    with file:
        layout.check(file, store.path)
        base, pools = file.userblock_size, open_pools(file)

        def read(address: int, nbytes: int) -> bytes:
            return store.pread(address + base, nbytes)

        check = (lambda: progress(0, 0)) if progress is not None else lambda: None
        reached = reach_all(file, read, pools, check=check)
        yield _Content(file, read, pools, reached, list_versions(file))


def _rewrite(old: AtomicFile, content: _Content, progress: Progress | None) -> list[str]:
    base = content.file.userblock_size

    def check() -> None:
        old.check()
        new.check()

    with old.replacement() as new:
        with h5py.File(new, "w", libver=layout.LIBVER, userblock_size=base) as file:
            rewriting = Rewriting(
                content.file, content.read, content.pools, content.reached, progress
            )
            lost = rewriting.write(file, new, check)
        if base:
            new.pwrite_staged(0, old.pread(0, base))
        new.commit()
        _check(new, old.path, content, progress)
        old.replace_by(new)
    return lost


def _check(new: AtomicFile, store: Path, content: _Content, progress: Progress | None) -> None:
    """Refuse a new store that is not whole, or not all of the old one."""
    found = verify(new.path, progress=progress)
    problems = [problem.message for problem in found.problems]
    if not problems:
        with _opened(new, None) as copy:
            if copy.versions != content.versions:
                problems.append("not all versions are there")
            if len(copy.reached.datasets) != len(shared_datasets(content.file, content.reached)):
                problems.append("not all datasets are there")
    if problems:
        raise StoreDamagedError(
            f"{store}: cannot be compacted: {problems[0]}",
            hint=f"`vh5d verify {store}` says what is affected; nothing was changed",
        )
