"""Builds a version's tree: what changed is made, what did not is the previous version's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import blake3
import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.capture.hashing import Kept
from vh5d.capture.parsed import Parsed, Scan
from vh5d.hdf5.address import address_of, link, open_by_address, open_by_path
from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.copying import copy_link, copy_object, rewrite_references
from vh5d.hdf5.dataset_info import Storage
from vh5d.hdf5.dataset_spec import of_dataset
from vh5d.hdf5.extents import Extents
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.walk import Kind, LinkKind, SourceLink, SourceObject
from vh5d.store import layout
from vh5d.store.datasets import (
    Index,
    index_of,
    pool_records,
    stage_header,
    stage_index,
)
from vh5d.store.images import FINGERPRINT_NBYTES, Image, ObjectEntry
from vh5d.store.pools import Hashes
from vh5d.store.staging import StagingArea


@dataclass(frozen=True)
class StagedTree:
    """A version's tree, built.

    Attributes
    ----------
    entries, fingerprints
        The source's objects, as its image lists them.
    changed
        Addresses, in the source, of the objects that are not the previous version's.
    warnings
        What could not be kept, one line each.
    """

    entries: tuple[ObjectEntry, ...]
    fingerprints: NDArray[np.uint8]
    changed: frozenset[int]
    warnings: tuple[str, ...] = ()


def stage_tree(
    area: StagingArea,
    found: Scan,
    kept: Kept,
    version: str,
    previous: str,
    before: Image | None,
    *,
    always: bool = False,
    counts: Callable[[str], bool] | None = None,
) -> StagedTree:
    """Build the tree of a new version in the store's file.

    Parameters
    ----------
    area
        The commit.
    found
        The source.
    kept
        Where its pieces are in the pools.
    version
        Name of the version's group, which is made.
    previous
        Name of the version before.
    before
        Its image, if it has one.
    always
        Whether a version is made even when no object changed; only its root group is new then.
    counts
        Takes the path of an object; whether its change makes a version. None: any does.

    Returns
    -------
    StagedTree
        What was built; nothing when nothing had changed, unless `always`.
    """
    versions = area.file[layout.VERSIONS]
    if found.parsed is None:
        versions.create_group(version)
        nothing = np.empty((0, FINGERPRINT_NBYTES), np.uint8)
        return StagedTree((), nothing, changed=frozenset({0}))
    builder = _Builder(
        area, found.parsed, found.tiling.chunks, kept, versions[previous], _known(before)
    )
    changed = builder.changed()
    if counts is not None and not builder.count(counts):
        changed = frozenset()
    elif always and not changed:
        changed = frozenset({found.parsed.tree.root})
    if changed:
        builder.build(versions, version, changed)
    entries, fingerprints = _list_objects(found.parsed, builder)
    return StagedTree(entries, fingerprints, changed, tuple(builder.warnings))


def _known(before: Image | None) -> dict[bytes, tuple[bytes, ObjectEntry]]:
    if before is None:
        return {}
    prints = before.fingerprints
    return {entry.path: (prints[i].tobytes(), entry) for i, entry in enumerate(before.objects)}


def _list_objects(
    found: Parsed, builder: _Builder
) -> tuple[tuple[ObjectEntry, ...], NDArray[np.uint8]]:
    entries = []
    for each in found.tree:
        stored = found.stored.get(each.address)
        entries.append(
            ObjectEntry(each.path)
            if stored is None
            else ObjectEntry(each.path, stored.encoding.name, len(stored.extents), stored.padded_to)
        )
    prints = b"".join(builder.fingerprint(each) for each in found.tree)
    return tuple(entries), np.frombuffer(prints, np.uint8).reshape(-1, FINGERPRINT_NBYTES)


def with_chunks(
    fingerprint: bytes, extents: Extents, hashes: Hashes, *, encoding: str, padded_to: int
) -> bytes:
    """Return what a dataset is known by: the fingerprint of its definition, and its chunks.

    Parameters
    ----------
    fingerprint
        The walk's.
    extents
        Its chunks; where they lie in the file does not count.
    hashes
        (n, 32) theirs.
    encoding, padded_to
        How they are kept: see `ObjectEntry`.
    """
    hasher = blake3.blake3(fingerprint)
    hasher.update(f"{encoding} {padded_to}".encode())
    for column in (extents.scaled, extents.masks, hashes):
        hasher.update(column.tobytes())
    return hasher.digest(FINGERPRINT_NBYTES)


@dataclass
class _Builder:
    area: StagingArea
    found: Parsed
    chunks: NDArray[np.intp]
    kept: Kept
    previous: h5py.Group
    known: dict[bytes, tuple[bytes, ObjectEntry]]
    pieces: dict[int, NDArray[np.intp]] = field(default_factory=dict)
    prints: dict[int, bytes] = field(default_factory=dict)
    made: dict[int, Any] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tree = self.found.tree
        self.source = self.found.file.id

    # What changed

    def changed(self) -> frozenset[int]:
        """Return the objects that differ from the previous version's, or lead to such."""
        first = 0
        for address, stored in self.found.stored.items():
            pieces = self.chunks[first : first + len(stored.extents)]
            first += len(stored.extents)
            self.pieces[address] = pieces
            self.prints[address] = with_chunks(
                self.tree.objects[address].fingerprint,
                stored.extents,
                self.kept.hashes[pieces],
                encoding=stored.encoding.name,
                padded_to=stored.padded_to,
            )
        return _spread({each.address for each in self.tree if self._differs(each)}, self.tree)

    def count(self, counts: Callable[[str], bool]) -> bool:
        """Whether an object that counts differs, or is gone."""
        there = {each.path for each in self.tree}
        differing = (each.path for each in self.tree if self._differs(each))
        gone = (path for path in self.known if path not in there)
        return any(counts(_text(path)) for path in chain(differing, gone))

    def fingerprint(self, each: SourceObject) -> bytes:
        """Return what an object is known by: its walk's fingerprint, and that of its chunks."""
        if each.address in self.lost:
            return bytes(FINGERPRINT_NBYTES)  # not in the tree: the next capture tries it again
        return self.prints.get(each.address, each.fingerprint)

    def _differs(self, each: SourceObject) -> bool:
        fingerprint, _ = self.known.get(each.path, (b"", None))
        return fingerprint != self.fingerprint(each) or each.kind is Kind.UNREADABLE

    def _dataset_before(self, each: SourceObject) -> h5py.Dataset:
        return h5py.Dataset(open_by_path(self.previous.id, each.path))

    # What is made

    def build(self, versions: h5py.Group, version: str, changed: frozenset[int]) -> None:
        """Make all changed objects, link everything, then copy attributes and references."""
        self._place_datasets(changed)
        root = self.tree.objects[self.tree.root]
        self.made[root.address] = copy_object(
            self._open(root), versions.id, version.encode(), utf8=True
        )
        for each in self.tree:
            if each.kind is Kind.GROUP and each.address in changed:
                for entry in each.links:
                    self._link(entry, self.made[each.address], each, changed)
        for each in self.tree:
            if each.address in changed and each.address in self.made:
                self._finish(each, self.made[each.address])

    def _place_datasets(self, changed: frozenset[int]) -> None:
        addresses = [each for each in self.found.stored if each in changed]
        headers = [self._stage(self.tree.objects[each]) for each in addresses]
        for address, dataset in zip(addresses, self.area.place(headers), strict=True):
            self.made[address] = dataset.id

    def _stage(self, each: SourceObject) -> int:
        stored = self.found.stored[each.address]
        # A dataset that grows may have a larger extent by now than when its chunks were listed.
        spec = of_dataset(
            self._open(each),
            chunks=stored.block,
            filters=stored.encoding.filters,
            shape=each.dataset.shape if each.dataset else None,
        )
        records = pool_records(
            self.area.pools[stored.encoding.name],
            self.kept.rows[self.pieces[each.address]],
            stored.extents.scaled,
            stored.extents.masks,
        )
        index = stage_index(self.area, spec, records, self._index_before(each))
        return stage_header(self.area, spec, index)

    def _index_before(self, each: SourceObject) -> Index | None:
        _, entry = self.known.get(each.path, (b"", None))
        if entry is None or entry.encoding is None or not entry.chunks:
            return None
        return index_of(self.area.read, self._dataset_before(each))

    def _link(
        self, entry: SourceLink, group: Any, parent: SourceObject, changed: frozenset[int]
    ) -> None:
        if entry.kind is LinkKind.USER_DEFINED:
            self.warnings.append(
                f"{_text(parent.path)}: the user-defined link {_text(entry.name)} is not kept"
            )
        elif entry.kind is not LinkKind.HARD:
            copy_link(entry, group)
        else:
            self._link_object(entry, group, changed)

    def _link_object(self, entry: SourceLink, group: Any, changed: frozenset[int]) -> None:
        each = self.tree.objects[entry.address]
        if each.kind is Kind.UNREADABLE or each.address in self.lost:
            return  # reported already
        if each.address not in changed:
            link(open_by_path(self.previous.id, each.path), group, entry.name, utf8=entry.utf8)
        elif each.address in self.made:
            link(self.made[each.address], group, entry.name, utf8=entry.utf8)
        else:
            self._copy(each, group, entry)

    def _copy(self, each: SourceObject, group: Any, entry: SourceLink) -> None:
        try:
            self.made[each.address] = copy_object(
                self._open(each), group, entry.name, utf8=entry.utf8
            )
        except H5PY_ERRORS as error:
            self.lost.add(each.address)
            self.warnings.append(f"{_text(each.path)}: cannot be copied into the tree: {error}")

    def _finish(self, each: SourceObject, target: Any) -> None:
        source = self._open(each)
        own = layout.RESERVED_ATTRIBUTES if each.address == self.tree.root else ()
        self.warnings += copy_attributes(
            source,
            target,
            self._translate,
            path=each.path,
            select=lambda name: name.decode("utf-8", "replace") not in own,
        )
        if each.storage is Storage.WHOLE:
            self.warnings += rewrite_references(source, target, self._translate, path=each.path)

    def _open(self, each: SourceObject) -> Any:
        return open_by_address(self.source, each.address)

    def _translate(self, address: int) -> int | None:
        if address in self.made:
            return address_of(self.made[address])
        each = self.tree.objects.get(address)
        if each is None or each.kind is Kind.UNREADABLE or address in self.lost:
            return None
        return address_of(open_by_path(self.previous.id, each.path))


def keep_aside(found: Scan, image: h5py.Group) -> list[str]:
    """Keep in the image the root attributes whose names a version's group needs for itself."""
    if found.parsed is None:
        return []
    root = found.parsed.file["/"]
    if not any(name in root.attrs for name in layout.RESERVED_ATTRIBUTES):
        return []
    aside = image.create_group(layout.ASIDE)
    return copy_attributes(
        root.id,
        aside.id,
        lambda _: None,
        path=b"/",
        select=lambda name: name.decode("utf-8", "replace") in layout.RESERVED_ATTRIBUTES,
    )


def _spread(changed: set[int], tree: Any) -> frozenset[int]:
    """Add every object that links or refers to a changed one, until none is left."""
    users: dict[int, list[int]] = {}
    for each in tree:
        for used in (*(entry.address for entry in each.links), *each.refers_to):
            users.setdefault(used, []).append(each.address)
    pending = list(changed)
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in changed:
                changed.add(user)
                pending.append(user)
    return frozenset(changed)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
