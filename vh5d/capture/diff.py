"""What differs between two versions, or a version and its source as it is now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vh5d.capture.hashing import hash_pieces
from vh5d.capture.options import CaptureOptions
from vh5d.capture.parsed import Parsed, Scan
from vh5d.capture.scan import scan
from vh5d.capture.stage import with_chunks
from vh5d.capture.watchful import WatchfulSource
from vh5d.errors import UsageError
from vh5d.hdf5.chunk_records import grid_keys
from vh5d.hdf5.extents import block_shape
from vh5d.hdf5.walk import SourceObject
from vh5d.store.attributes import read_attributes
from vh5d.store.compare import Side, compare, known_objects, version_side
from vh5d.store.datasets import records_of
from vh5d.store.diff import Comparison, Diff, Places, diff_versions
from vh5d.store.encoding import RAW
from vh5d.store.images import ObjectEntry
from vh5d.store.pieces import digest
from vh5d.store.pools import Hashes
from vh5d.store.reader import StoreReader, open_store
from vh5d.store.versions import VersionInfo


def diff(
    store: str | os.PathLike[str],
    before: str,
    after: str | None = None,
    *,
    source: str | os.PathLike[str] | None = None,
) -> Diff:
    """Tell what differs between two versions, or between a version and the source as it is now.

    Chunks that are the same are not read.

    Parameters
    ----------
    store
        The store.
    before, after
        Versions: a name, a unique prefix of one, ``-1``, or ``@TIME``. Without `after`, the source.
    source
        Where the source is; by default where it was when `before` was captured.

    Raises
    ------
    VersionNotFoundError, AmbiguousVersionError
        No version, or several, are meant.
    SourceError
        The source cannot be read, or is not at rest.
    """
    with open_store(store) as reader:
        first = reader.resolve(before)
        if after is not None:
            return diff_versions(reader, first, reader.resolve(after))
        place = Path(source) if source is not None else first.source_path
        if place is None:
            raise UsageError(
                f"version {first.name!r} was staged from Python: there is no source",
                hint="name a second version",
            )
        return diff_source(reader, first, place)


def diff_source(reader: StoreReader, before: VersionInfo, source: Path) -> Diff:
    """Tell what differs between a version and a source as it is now."""
    with (
        WatchfulSource(source, busy="try") as watched,
        scan(watched, CaptureOptions(), lambda: None) as found,
    ):
        hashes = hash_pieces(watched.file.pread_into, found.tiling.pieces)
        same_bytes = digest(watched.size, found.tiling.pieces, hashes) == before.digest
        if same_bytes or found.parsed is None or before.kept_as == "bytes":
            result = Diff(reader.path, before.name, None, same_bytes, compared=same_bytes)
        else:
            present = _Present(reader, before, found, found.parsed, hashes)
            result = Diff(reader.path, before.name, None, same_bytes, present.objects())
        watched.check_at_rest()
    return result


@dataclass
class _Present:
    """A version, and a source that differs from it."""

    reader: StoreReader
    before: VersionInfo
    found: Scan
    parsed: Parsed
    hashes: Hashes

    def __post_init__(self) -> None:
        self.known = known_objects(self.reader, self.before)
        self.now = {each.path: each for each in self.parsed.tree}
        self.chunk_hashes: dict[int, Hashes] = {}
        first = 0
        for address, stored in self.parsed.stored.items():
            last = first + len(stored.extents)
            self.chunk_hashes[address] = self.hashes[self.found.tiling.chunks[first:last]]
            first = last

    def objects(self) -> tuple[Any, ...]:
        """Return what differs."""
        root = self.parsed.file["/"]
        sides = version_side(self.reader, self.before), Side(root, read_attributes(root))
        comparison = Comparison(*sides, self._entry_before, self._entry_now, self._changed)
        return tuple(map(comparison.explain, compare(*sides, self._same, one_file=False)))

    def _entry_before(self, path: bytes) -> ObjectEntry | None:
        return self.known[path][1] if path in self.known else None

    def _entry_now(self, _path: bytes) -> None:
        return None  # nothing of ours is in a source

    def _same(self, path: bytes, _one: Any, _other: Any) -> bool:
        now = self.now.get(path)
        return (
            now is not None and path in self.known and self._fingerprint(now) == self.known[path][0]
        )

    def _fingerprint(self, now: SourceObject) -> bytes:
        """Return the fingerprint that a capture like the version's would take."""
        entry, stored = self._entry_before(now.path), self.parsed.stored.get(now.address)
        if entry is None or entry.encoding is None or stored is None:
            return now.fingerprint
        return with_chunks(
            now.fingerprint,
            stored.extents,
            self.chunk_hashes[now.address],
            encoding=entry.encoding,
            padded_to=entry.padded_to,
        )

    def _changed(self, path: bytes, one: h5py.Dataset, _other: h5py.Dataset) -> Places | None:
        now, entry = self.now.get(path), self._entry_before(path)
        if now is None or entry is None or entry.encoding is None:
            return None
        if one.chunks != self._grid(now):
            return None
        extents = self.parsed.stored[now.address].extents
        records = records_of(self.reader.read, one)
        pool = self.reader.pools[entry.encoding]
        then = pool.hashes_of(pool.rows_at(records.addresses))
        hashes = self.chunk_hashes[now.address]
        keys, keys_now = grid_keys(records.scaled), grid_keys(extents.scaled)
        _, a, b = np.intersect1d(keys, keys_now, assume_unique=True, return_indices=True)
        same = (then[a] == hashes[b]).all(axis=1)
        if pool.encoding == RAW:
            same &= records.masks[a] == extents.masks[b]
        changed_then, changed_now = np.ones(len(keys), bool), np.ones(len(keys_now), bool)
        changed_then[a[same]] = False
        changed_now[b[same]] = False
        places = [records.scaled[changed_then], extents.scaled[changed_now]]
        return np.unique(np.concatenate(places), axis=0)

    def _grid(self, now: SourceObject) -> tuple[int, ...] | None:
        """Return the shape of the blocks in which a dataset of the source is kept."""
        if now.address not in self.parsed.stored or now.dataset is None:
            return None
        return now.dataset.chunks or block_shape(now.dataset.shape or (), now.dataset.itemsize)
