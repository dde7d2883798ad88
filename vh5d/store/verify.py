"""Checks a store: every chunk, every index, every image, every object."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError, StoreError, UsageError
from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.store import chain, tags
from vh5d.store.blueprint import Blueprint, blueprint
from vh5d.store.images import ObjectEntry, read_image
from vh5d.store.pieces import digest
from vh5d.store.pools import HASH_NBYTES, Hashes
from vh5d.store.reader import StoreReader, open_store
from vh5d.store.verify_indexes import Indexes
from vh5d.store.verify_pools import CheckedPool, Progress, check_pool, pool_nbytes
from vh5d.store.verify_staged import StagedCheck
from vh5d.store.verify_trees import Seen, check_tree
from vh5d.store.versions import VersionInfo

DAMAGE = (StoreDamagedError, IndexError, AttributeError, *H5PY_ERRORS)
_OF_ALL = ("store", "pool")  # problems that any version may have


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written.

    Attributes
    ----------
    kind
        ``store``, ``pool``, ``chunk``, ``index``, ``image``, ``object``, ``chain`` or ``tag``.
    message
        What is wrong, in one line.
    versions
        The versions that are affected.
    path
        The object that is affected, in all of them.
    """

    kind: str
    message: str
    versions: tuple[str, ...] = ()
    path: str | None = None


@dataclass(frozen=True)
class VerifyResult:
    """What a check found.

    Attributes
    ----------
    problems
        Empty when all is well.
    versions, chunks, nbytes
        How many were checked; bytes as stored.
    recovered
        What had to be done about a commit that died here, or None.
    chain
        The last link of the chain of versions, in hexadecimal: to be noted elsewhere, and compared.
    names
        Of the versions, oldest first.
    """

    store: Path
    problems: tuple[Problem, ...]
    versions: int
    chunks: int
    nbytes: int
    seconds: float
    recovered: str | None = None
    chain: str | None = None
    names: tuple[str, ...] = ()

    @property
    def unaffected(self) -> tuple[str, ...]:
        """Names of the versions that no problem is about; none when that cannot be told."""
        if any(each.kind in _OF_ALL for each in self.problems):
            return ()
        affected = {name for each in self.problems for name in each.versions}
        return tuple(name for name in self.names if name not in affected)

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.problems


def verify(
    store: str | os.PathLike[str],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> VerifyResult:
    """Check a store against all the digests in it.

    Every chunk in the pools is decoded and hashed; every index node and object header is read and
    its checksum checked, those that versions share once; every image is checked against the digest
    that was taken at capture; every object of every version is opened, and what was copied whole is
    compared with the bytes of its source.

    Parameters
    ----------
    store
        The store.
    threads
        How many threads decode and hash; by default one a core.
    progress
        Called with bytes done and bytes in all.

    Raises
    ------
    StoreMissingError, NotAStoreError, StoreBusyError
        There is nothing to check, or not now. Damage is no exception but a problem.
    """
    started = time.monotonic()
    path = Path(store)
    try:
        with open_store(path) as reader:
            check = _Check(reader, threads, progress)
            check.run()
            return VerifyResult(
                store=path,
                problems=tuple(check.problems),
                versions=check.versions,
                chunks=check.chunks,
                nbytes=check.done,
                seconds=time.monotonic() - started,
                recovered=reader.recovered,
                chain=check.chain,
                names=tuple(check.names),
            )
    except (StoreDamagedError, *H5PY_ERRORS) as error:
        if isinstance(error, StoreError | UsageError) and not isinstance(error, StoreDamagedError):
            raise
        problem = Problem("store", f"it cannot be read: {error}")
        return VerifyResult(path, (problem,), 0, 0, 0, time.monotonic() - started)


def problems_of(reader: StoreReader) -> tuple[Problem, ...]:
    """Return what is wrong with a store that is open."""
    check = _Check(reader, None, None)
    check.run()
    return tuple(check.problems)


@dataclass
class _Check:
    reader: StoreReader
    threads: int | None
    progress: Progress | None
    problems: list[Problem] = field(default_factory=list)
    pools: dict[str, CheckedPool] = field(default_factory=dict)
    seen_objects: Seen = field(default_factory=dict)
    versions: int = 0
    chunks: int = 0
    done: int = 0
    total: int = 0
    chain: str | None = None
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.indexes = Indexes(self.reader)
        self.staged = StagedCheck(self.reader, self._damaged_anywhere)

    def run(self) -> None:
        self._check_pools()
        versions = self._list_versions()
        for version in versions:
            self.versions += 1
            self._advance(0)
            self.names.append(version.name)
            self._check_version(version)
        self._check_chain(versions)
        self._check_tags(versions)

    # Pools

    def _check_pools(self) -> None:
        names = []
        for name in self.reader.pools:
            try:
                pool = self.reader.pools[name]
                self.total += pool_nbytes(pool)
                if len(pool.hashes) != len(pool.table):
                    raise StoreDamagedError(
                        f"{len(pool.table)} chunks, but {len(pool.hashes)} hashes"
                    )
                names.append(name)
            except DAMAGE as error:
                self.problems.append(Problem("pool", f"pool {name!r} cannot be read: {error}"))
        for name in names:
            checked = check_pool(
                self.reader.read,
                self.reader.pools[name],
                threads=self.threads,
                advance=self._advance,
            )
            self.pools[name] = checked
            self.chunks += int(checked.pool.alive.sum())
            if len(checked.bad):
                self._report_chunks(checked)

    def _advance(self, nbytes: int) -> None:
        self.done += nbytes
        if self.progress is not None:
            self.progress(self.done, self.total)

    def _report_chunks(self, checked: CheckedPool) -> None:
        name, bad = checked.pool.encoding.name, checked.bad.tolist()
        shown = ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")
        self.problems.append(
            Problem("chunk", f"damaged chunks of pool {name!r}: {len(bad)}, in rows {shown}")
        )

    # Versions

    def _list_versions(self) -> list[VersionInfo]:
        try:
            return self.reader.versions
        except DAMAGE as error:
            self.problems.append(Problem("store", f"its versions cannot be listed: {error}"))
            return []

    def _check_chain(self, versions: list[VersionInfo]) -> None:
        try:
            for each in chain.check(self.reader.file, versions):
                names = () if each.version is None else (each.version,)
                self.problems.append(Problem("chain", each.message, names))
            self.chain = chain.head(self.reader.file)
        except DAMAGE as error:
            self.problems.append(Problem("chain", f"the chain of versions cannot be read: {error}"))

    def _check_tags(self, versions: list[VersionInfo]) -> None:
        try:
            for name in tags.astray(self.reader.file, versions):
                self.problems.append(Problem("tag", f"the tag {name!r} is of no version"))
        except DAMAGE as error:
            self.problems.append(Problem("tag", f"the tags cannot be read: {error}"))

    def _check_version(self, version: VersionInfo) -> None:
        self._guard("object", version, lambda: self.indexes.begin(version))
        whole = self._guard("image", version, lambda: self._check_image(version))
        self._guard("index", version, lambda: self._check_indexes(version))
        if version.kept_as != "bytes":
            plan = whole if isinstance(whole, Blueprint) else None
            self._guard("object", version, lambda: self._check_objects(version, plan))

    def _guard(
        self, kind: str, version: VersionInfo, step: Callable[[], Blueprint | None]
    ) -> Blueprint | None:
        try:
            return step()
        except DAMAGE as error:
            self._add(kind, version, f"{error}")
            return None

    def _add(self, kind: str, version: VersionInfo, message: str, path: str | None = None) -> None:
        """Note a problem; the same one in several versions is one problem."""
        for i, known in enumerate(self.problems):
            if (known.kind, known.message, known.path) == (kind, message, path):
                versions = tuple(dict.fromkeys((*known.versions, version.name)))
                self.problems[i] = Problem(kind, message, versions, path)
                return
        self.problems.append(Problem(kind, message, (version.name,), path))

    def _check_image(self, version: VersionInfo) -> Blueprint | None:
        """Check a version's image against its digest; return it when it is right."""
        reader = self.reader
        if read_image(reader.file, version.name) is None:
            return None
        plan = blueprint(
            reader.read, reader.file, reader.pools, version.name, records=self.indexes.records
        )
        hashes, missing = self._hashes(plan)
        if missing:
            self._add("image", version, f"pieces of its file damaged or missing: {missing}")
        elif digest(plan.image.facts.size, plan.pieces, hashes) != plan.image.facts.digest:
            self._add(
                "image", version, "its file does not have the digest that it was captured with"
            )
        elif version.kept_as != "content":
            return plan  # of content alone there is no file to compare with
        return None

    def _hashes(self, plan: Blueprint) -> tuple[Hashes, int]:
        hashes = np.zeros((len(plan.pieces), HASH_NBYTES), np.uint8)
        missing = 0
        for kind, encoding in enumerate(plan.pieces.encodings):
            which = np.flatnonzero(plan.pieces.pools == kind)
            rows = self._rows(encoding.name, plan.addresses[which], plan.stored[which])
            missing += int((rows < 0).sum())
            if encoding.name in self.pools:
                hashes[which] = self.pools[encoding.name].pool.hashes[rows]
        return hashes, missing

    def _rows(
        self, pool: str, addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        if pool not in self.pools:
            return np.full(len(addresses), -1, np.int64)
        return self.pools[pool].rows_at(addresses, sizes)

    def _check_indexes(self, version: VersionInfo) -> None:
        """Check the indexes of the version's datasets, but for those that were checked before."""
        spotless = not any(len(each.bad) for each in self.pools.values())
        image = read_image(self.reader.file, version.name)
        if image is None:
            for kind, message, path in self.staged.check(version):
                self._add(kind, version, message, path)
            return
        for entry in image.objects:
            if entry.encoding is None or (spotless and self.indexes.had(entry)):
                continue
            path = os.fsdecode(entry.path)
            try:
                damaged = self._damaged_chunks(entry)
            except DAMAGE as error:
                self._add("index", version, str(error), path)
                continue
            if damaged:
                self._add("chunk", version, f"chunks damaged or missing: {damaged}", path)

    def _damaged_chunks(self, entry: ObjectEntry) -> int:
        records = self.indexes.records(entry)
        return int((self._rows(str(entry.encoding), records.addresses, records.sizes) < 0).sum())

    def _damaged_anywhere(self, records: ChunkRecords) -> int:
        """Return how many of these chunks are good ones of no pool."""
        good = np.zeros(len(records), bool)
        for name in self.pools:
            good |= self._rows(name, records.addresses, records.sizes) >= 0
        return int((~good).sum())

    def _check_objects(self, version: VersionInfo, plan: Blueprint | None) -> None:
        for path, message in check_tree(self.reader, version, plan, self.seen_objects):
            self._add("object", version, message, path)
