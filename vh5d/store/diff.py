"""What differs between two versions: objects, attributes, chunks, values."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.chunk_index import changes as index_changes
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.walk import LinkKind, SourceLink
from vh5d.store.allocated import allocated_boxes
from vh5d.store.attributes import Attribute, read_attributes
from vh5d.store.boxes import Box, element_boxes
from vh5d.store.compare import (
    Change,
    Kind,
    Side,
    What,
    compare,
    known_objects,
    same_in,
    version_side,
)
from vh5d.store.datasets import index_of
from vh5d.store.describe import DatasetDescription, describe
from vh5d.store.images import ObjectEntry
from vh5d.store.reader import StoreReader
from vh5d.store.value_diff import ValueDiff, compare_values
from vh5d.store.versions import VersionInfo

NUMBERS = "biufc"
MOST_ELEMENTS = 1 << 33

Places: TypeAlias = NDArray[np.uint64]
Entries: TypeAlias = Callable[[bytes], ObjectEntry | None]
ChangedChunks: TypeAlias = Callable[[bytes, h5py.Dataset, h5py.Dataset], Places | None]


@dataclass(frozen=True)
class AttributeDiff:
    """An attribute that differs; None where there is none."""

    name: str
    before: Attribute | None
    after: Attribute | None


@dataclass(frozen=True)
class DatasetDiff:
    """How a dataset differs.

    Attributes
    ----------
    before, after
        What it is, values aside; None where there is none.
    changed_chunks
        How many chunks differ in their bytes, are new or gone; None when that is not known.
    ranges
        The elements that these chunks hold (without chunks: that differ), as boxes.
    values
        How the elements within differ that both have; None when they were not compared.
    unread
        Why not.
    """

    before: DatasetDescription | None
    after: DatasetDescription | None
    changed_chunks: int | None = None
    ranges: tuple[Box, ...] = ()
    values: ValueDiff | None = None
    unread: str | None = None


@dataclass(frozen=True)
class ObjectDiff:
    """An object that differs.

    Attributes
    ----------
    attributes
        Those that differ.
    dataset
        Of a dataset.
    link_before, link_after
        Where a soft or external link leads.
    """

    path: str
    kind: Kind
    what: What
    attributes: tuple[AttributeDiff, ...] = ()
    dataset: DatasetDiff | None = None
    link_before: str | None = None
    link_after: str | None = None


@dataclass(frozen=True)
class Diff:
    """What differs.

    Attributes
    ----------
    before
        The earlier version.
    after
        The later one; None for the source as it is now.
    same_bytes
        Whether the files are equal, byte for byte.
    objects
        What differs in them; empty when one of them was kept by its bytes alone.
    compared
        Whether there were objects to compare.
    """

    store: Path
    before: str
    after: str | None
    same_bytes: bool
    objects: tuple[ObjectDiff, ...] = ()
    compared: bool = True

    def __bool__(self) -> bool:
        return bool(self.objects) or not self.same_bytes


def diff_versions(reader: StoreReader, before: VersionInfo, after: VersionInfo) -> Diff:
    """Tell what differs between two versions; what they share is not looked at."""
    same_bytes = before.digest is not None and before.digest == after.digest
    if "bytes" in {before.kept_as, after.kept_as}:
        return Diff(reader.path, before.name, after.name, same_bytes, compared=False)
    old, new = known_objects(reader, before), known_objects(reader, after)

    def entry_before(path: bytes) -> ObjectEntry | None:
        return old[path][1] if path in old else None

    def entry_after(path: bytes) -> ObjectEntry | None:
        return new[path][1] if path in new else None

    def changed(path: bytes, one: h5py.Dataset, other: h5py.Dataset) -> Places | None:
        entries = entry_before(path), entry_after(path)
        if one.chunks != other.chunks or any(
            each is None or each.encoding is None for each in entries
        ):
            return None
        first, second = index_of(reader.read, one), index_of(reader.read, other)
        gone, came = index_changes(
            reader.read, first.root, first.format, second.root, second.format
        )
        return np.unique(np.concatenate([gone.scaled, came.scaled]), axis=0)

    comparison = Comparison(
        version_side(reader, before),
        version_side(reader, after),
        entry_before,
        entry_after,
        changed,
    )
    found = compare(
        comparison.before, comparison.after, same_in(reader, before, after), one_file=True
    )
    objects = tuple(map(comparison.explain, found))
    return Diff(reader.path, before.name, after.name, same_bytes, objects)


@dataclass(frozen=True)
class Comparison:
    """Finds out how objects differ.

    Attributes
    ----------
    before, after
        The two trees.
    entry_before, entry_after
        Return what an image says of the object at a path, if anything.
    changed
        Returns the places of the chunks of two datasets that differ, in the chunk grid of the
        first; None when they have no grid in common.
    """

    before: Side
    after: Side
    entry_before: Entries
    entry_after: Entries
    changed: ChangedChunks

    def explain(self, change: Change) -> ObjectDiff:
        """Return how an object differs."""
        path = os.fsdecode(change.path)
        if change.kind == "link":
            return ObjectDiff(
                path,
                change.kind,
                change.what,
                link_before=_leads_to(change.before),
                link_after=_leads_to(change.after),
            )
        return ObjectDiff(
            path,
            change.kind,
            change.what,
            attributes=self._attributes(change) if change.what == "changed" else (),
            dataset=self._dataset(change) if change.kind == "dataset" else None,
        )

    def _attributes(self, change: Change) -> tuple[AttributeDiff, ...]:
        if change.path == b"/":
            old, new = self.before.root_attributes, self.after.root_attributes
        else:
            old, new = read_attributes(change.before), read_attributes(change.after)
        return tuple(
            AttributeDiff(name, old.get(name), new.get(name))
            for name in dict.fromkeys([*old, *new])
            if old.get(name) != new.get(name)
        )

    def _dataset(self, change: Change) -> DatasetDiff:
        one, other = change.before, change.after
        old = describe(one, self.entry_before(change.path)) if one is not None else None
        new = describe(other, self.entry_after(change.path)) if other is not None else None
        if old is None or new is None:
            return DatasetDiff(old, new)
        if old.elsewhere or new.elsewhere:
            return DatasetDiff(old, new, unread="the values are in other files")
        if old.shape is None or new.shape is None or len(old.shape) != len(new.shape):
            return DatasetDiff(old, new)
        places = None
        if one.chunks is not None:
            places = self.changed(change.path, one, other)
        common = tuple(map(min, old.shape, new.shape))
        if places is not None:
            boxes = element_boxes(places, one.chunks, tuple(map(max, old.shape, new.shape)))
        elif one.chunks is not None and one.chunks == other.chunks:
            boxes = sorted({*allocated_boxes(one), *allocated_boxes(other)})
        else:
            boxes = [Box((0,) * len(common), common)]
        values, unread = _values(one, other, [box.clipped(common) for box in boxes])
        if places is not None:
            return DatasetDiff(old, new, len(places), tuple(boxes), values, unread)
        bounds = (values.bounds,) if values is not None and values.bounds is not None else ()
        return DatasetDiff(old, new, None, bounds, values, unread)


def _values(
    one: h5py.Dataset, other: h5py.Dataset, boxes: list[Box]
) -> tuple[ValueDiff | None, str | None]:
    numbers = all(each.dtype.kind in NUMBERS and each.dtype.names is None for each in (one, other))
    if not numbers and type_differs(one, other):
        return None, "the types have nothing in common"
    boxes = [box for box in boxes if box.size]
    if sum(box.size for box in boxes) > MOST_ELEMENTS:
        return None, "too many values to compare without chunks in common"
    try:
        return compare_values(one, other, boxes), None
    except H5PY_ERRORS as error:
        return None, f"the values cannot be read: {error}"


def type_differs(one: h5py.Dataset, other: h5py.Dataset) -> bool:
    """Whether two datasets' element types differ, as numpy has them."""
    return bool(one.dtype != other.dtype)


def _leads_to(link: SourceLink | None) -> str | None:
    if link is None:
        return None
    target = os.fsdecode(link.target)
    return f"{os.fsdecode(link.file)}:{target}" if link.kind is LinkKind.EXTERNAL else target
