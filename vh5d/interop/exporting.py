"""`vh5d.export_file`: a file of data version 4, which versioned-hdf5 opens and stages upon."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vh5d.capture.target import new_file
from vh5d.errors import StoreWriteError, TargetExistsError, UsageError
from vh5d.hdf5.address import address_of, link, open_by_address
from vh5d.hdf5.attributes import copy_attributes, list_attributes
from vh5d.hdf5.stubs import is_dataset, stub_group
from vh5d.hdf5.virtual import create_virtual
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links, open_link
from vh5d.interop import theirs
from vh5d.interop.raw_writer import RawWriter, chunks_of
from vh5d.interop.variants import Variant, Variants, plan
from vh5d.store import layout
from vh5d.store.pools import STORED
from vh5d.store.reader import StoreReader, open_store
from vh5d.store.versions import EXPORTED_TAGS, VersionInfo, current_version

Progress = Callable[[int, int], None]
OURS_ALONE = ("sequence",)

Fresh = list[tuple[bytes, Any, Any]]
"""Objects made for a version: path, ours, theirs."""


@dataclass(frozen=True)
class ExportResult:
    """What an export did.

    Attributes
    ----------
    versions
        Names, oldest first.
    nbytes
        Size of the file that was made.
    warnings
        What versioned-hdf5 cannot have, and what to mind, one line each.
    """

    store: Path
    target: Path
    versions: tuple[str, ...]
    nbytes: int
    seconds: float
    warnings: tuple[str, ...] = ()


def export_file(
    store: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    versions: Sequence[str] = (),
    progress: Progress | None = None,
) -> ExportResult:
    """Make a file for versioned-hdf5 of a store.

    Chunks are copied as they are stored. What versioned-hdf5 cannot have is left out: scalars, null
    dataspaces, committed types, links that are not hard, and element types with pointers inside
    but strings.

    Parameters
    ----------
    store
        The store.
    target
        Does not exist yet. It appears when it is whole.
    versions
        Only these: names, unique prefixes, ``-1``, ``@TIME``. All by default.
    progress
        Called with bytes of chunks done and in all, at most.

    Raises
    ------
    TargetExistsError
        `target` exists.
    VersionNotFoundError, AmbiguousVersionError
        A version is not there.
    UsageError
        A version has no tree.
    StoreError
        The store cannot be read, or `target` not be written.
    """
    started = time.monotonic()
    path = Path(target)
    if path.exists():
        raise TargetExistsError(f"{path}: exists, and is left as it is", hint="name another file")
    with open_store(store) as reader:
        chosen = _choose(reader, versions)
        with new_file(path, overwrite=False) as (fd, name):
            try:
                with h5py.File(name, "w", locking=False) as file:
                    writing = _Export(reader, file, progress)
                    writing.run(chosen)
            except (OSError, RuntimeError) as error:
                raise StoreWriteError(f"{path}: cannot be written: {error}") from error
            nbytes = os.fstat(fd).st_size
            os.fchmod(fd, Path(store).stat().st_mode & 0o777)
    return ExportResult(
        store=Path(store),
        target=path,
        versions=tuple(version.name for version in chosen),
        nbytes=nbytes,
        seconds=time.monotonic() - started,
        warnings=tuple(writing.warnings),
    )


def _choose(reader: StoreReader, specs: Sequence[str]) -> list[VersionInfo]:
    wanted = {reader.resolve(spec).name for spec in specs}
    chosen = [each for each in reader.versions if not wanted or each.name in wanted]
    if not chosen:
        raise UsageError(f"{reader.path}: the store has no version yet")
    for version in chosen:
        if version.kept_as == "bytes":
            raise UsageError(
                f"{reader.path}: version {version.name!r} is kept by its bytes, and has no tree",
                hint="name the others with --version",
            )
    return chosen


class _Export:
    def __init__(self, reader: StoreReader, file: h5py.File, progress: Progress | None) -> None:
        self._reader, self._file, self._progress = reader, file, progress
        self._variants = Variants()
        self._writers: dict[str, RawWriter] = {}
        self._made: dict[int, int] = {}
        self._left_out: dict[str, str] = {}
        self._attributes_lost: list[str] = []
        pools = reader.pools
        self._total = sum(int(pools[name].table[:, STORED].sum()) for name in pools)
        self._done = 0

    def run(self, versions: Sequence[VersionInfo]) -> None:
        """Write all versions."""
        ours = self._reader.file
        current = _nearest(self._reader.versions, versions, current_version(ours))
        ordered = sorted(versions, key=lambda each: each.name == current)  # the current one last
        self._variants = plan(self._reader.tree(each) for each in ordered)
        target = self._file.create_group(layout.VERSIONS)
        target.attrs["current_version"] = current
        target.attrs["data_version"] = theirs.DATA_VERSION
        first = target.create_group(layout.FIRST_VERSION)
        first.attrs["timestamp"] = self._reader.tree(versions[0]).attrs["timestamp"]
        for version in versions:
            self._version(version, target)
            before = _nearest(self._reader.versions, versions, version.prev_version)
            target[version.name].attrs["prev_version"] = before
        tags = {tag: version.name for version in versions for tag in version.tags}
        if tags:
            target.attrs[EXPORTED_TAGS] = json.dumps(tags)
        for writer in self._writers.values():
            writer.finish()

    @property
    def warnings(self) -> list[str]:
        """What is to be minded."""
        several = (
            f"{path}: its type, chunks or filters changed; versioned-hdf5 reads all versions, but "
            "do not stage upon those before the change"
            for path in self._variants.several
        )
        left_out = (f"{path}: left out: {reason}" for path, reason in self._left_out.items())
        return [*left_out, *several, *dict.fromkeys(self._attributes_lost)]

    def _version(self, version: VersionInfo, target: h5py.Group) -> None:
        old = self._reader.tree(version)
        group = target.create_group(version.name)
        fresh: Fresh = []
        self._made[address_of(old.id)] = address_of(group.id)
        self._members(old.id, group.id, b"", fresh)
        self._copy_attributes(b"", old.id, group.id)
        for path, source, made in fresh:
            self._copy_attributes(path, source, made)

    def _members(self, old: Any, made: Any, path: bytes, fresh: Fresh) -> None:
        for each in list_links(old):
            where = path + each.name
            if each.kind is not LinkKind.HARD:
                self._left_out[os.fsdecode(where)] = f"it is a {each.kind.value} link"
                continue
            opened = open_link(old, each)
            if is_group(opened):
                new = stub_group(self._file.id, None)
                link(new, made, each.name, utf8=each.utf8)
                self._made[each.address] = address_of(new)
                fresh.append((where, opened, new))
                self._members(opened, new, where + b"/", fresh)
            else:
                self._leaf(each, opened, (made, where), fresh)

    def _leaf(
        self,
        each: SourceLink,
        opened: Any,
        place: tuple[Any, bytes],
        fresh: Fresh,
    ) -> None:
        parent, path = place
        variant = self._variants.of.get(each.address) if is_dataset(opened) else None
        if variant is None:
            reason = self._variants.refused.get(each.address, "it is a committed type")
            self._left_out[os.fsdecode(path)] = reason
            return
        # A dataset that did not change is one object here, as it is there. None stays open: HDF5
        # has all blocks of a virtual one in memory until it is closed.
        if each.address in self._made:
            new = open_by_address(self._file.id, self._made[each.address])
        else:
            new = self._dataset(h5py.Dataset(opened), variant)
            self._made[each.address] = address_of(new)
            fresh.append((path, opened, new))
        link(new, parent, each.name, utf8=each.utf8)

    def _dataset(self, dataset: h5py.Dataset, variant: Variant) -> Any:
        writer = self._writers.get(variant.path)
        if writer is None:
            writer = RawWriter(self._file, variant.path, variant.like, variant.chunks)
            self._writers[variant.path] = writer
        chunks = list(chunks_of(dataset, variant.chunks))
        numbers = [writer.add(dataset, chunk, self._read) for chunk in chunks]
        made = create_virtual(
            self._file.id,
            dataset.id,
            (writer.path.encode(), writer.shape),
            writer.mappings(chunks, numbers),
        )
        attributes = h5py.Dataset(made).attrs
        attributes[theirs.CHUNKS_ATTRIBUTE] = np.array(variant.chunks)
        attributes[theirs.RAW_ATTRIBUTE] = writer.path
        return made

    def _read(self, address: int, nbytes: int) -> bytes:
        self._done += nbytes
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)
        # Where chunks lie in the file, HDF5 tells; what we read counts from the userblock's end.
        return self._reader.read(address - self._reader.file.userblock_size, nbytes)

    def _copy_attributes(self, path: bytes, old: Any, made: Any) -> None:
        own: tuple[str, ...] = OURS_ALONE
        if path:
            own = theirs.OWN_ATTRIBUTES if is_dataset(old) else ()
            for name, _ in list_attributes(old, tracked=False):
                if os.fsdecode(name) in own:
                    where = f"{os.fsdecode(path)}@{os.fsdecode(name)}"
                    self._left_out[where] = "versioned-hdf5 has an attribute of this name itself"
        self._attributes_lost += copy_attributes(
            old,
            made,
            self._made.get,
            path=path,
            select=lambda name: os.fsdecode(name) not in own,
        )


def _nearest(every: Iterable[VersionInfo], chosen: Sequence[VersionInfo], name: str) -> str:
    """Return the nearest version at or before `name` that was chosen."""
    parents, there = (
        {each.name: each.prev_version for each in every},
        {each.name for each in chosen},
    )
    while name in parents and name not in there:
        name = parents[name]
    return name if name in there else layout.FIRST_VERSION
