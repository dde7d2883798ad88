"""Which objects differ between two trees, without looking at what is surely the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import h5py

from vh5d.hdf5.attributes import tracks_attribute_order
from vh5d.hdf5.dataset_info import open_dataset
from vh5d.hdf5.fingerprint import Sketch
from vh5d.hdf5.walk import LinkKind, SourceLink, list_links
from vh5d.store import layout
from vh5d.store.attributes import Attributes, read_attributes
from vh5d.store.images import ObjectEntry, read_image
from vh5d.store.reader import StoreReader
from vh5d.store.versions import VersionInfo

What: TypeAlias = Literal["added", "removed", "changed"]
Kind: TypeAlias = Literal["dataset", "group", "datatype", "link"]
Same: TypeAlias = Callable[[bytes, Any, Any], bool]

WHATS: tuple[What, ...] = ("changed", "added", "removed")
KINDS: tuple[Kind, ...] = ("dataset", "group", "datatype", "link")


@dataclass(frozen=True)
class Change:
    """An object, or a soft or external link, that differs.

    Attributes
    ----------
    path
        Absolute, as stored.
    before, after
        The object (h5py's Group, Dataset or Datatype) or the link; None where there is none.
    """

    path: bytes
    kind: Kind
    what: What
    before: Any = None
    after: Any = None


@dataclass(frozen=True)
class Side:
    """A tree to be compared.

    Attributes
    ----------
    root
        Its root group.
    root_attributes
        The attributes of its root.
    """

    root: h5py.Group
    root_attributes: Attributes


def compare(before: Side, after: Side, same: Same, *, one_file: bool) -> Iterator[Change]:
    """Go through what differs: first what a group itself has, then what is below.

    Parameters
    ----------
    before, after
        The trees.
    same
        Is given a path and the two datasets or datatypes there; says whether they are equal.
    one_file
        Whether both trees are in one file: an object is then the same when its address is.
    """
    if before.root_attributes != after.root_attributes:
        yield Change(b"/", "group", "changed", before.root, after.root)
    yield from _Walk(same, one_file).groups(b"", before.root.id, after.root.id)


@dataclass
class _Walk:
    same: Same
    one_file: bool
    seen: set[tuple[int, int]] = field(default_factory=set)

    def groups(self, path: bytes, before: Any, after: Any) -> Iterator[Change]:
        old = {link.name: link for link in list_links(before)}
        new = {link.name: link for link in list_links(after)}
        for name, link in new.items():
            child = path + b"/" + name
            yield from self.links(child, old.get(name), link, before, after)
        for name, link in old.items():
            if name not in new:
                yield from self.links(path + b"/" + name, link, None, before, after)

    def links(
        self, path: bytes, old: SourceLink | None, new: SourceLink | None, before: Any, after: Any
    ) -> Iterator[Change]:
        if old is not None and new is not None:
            if old.kind is not LinkKind.HARD and new.kind is not LinkKind.HARD:
                if (old.kind, old.target, old.file) != (new.kind, new.target, new.file):
                    yield Change(path, "link", "changed", old, new)
                return
            if old.kind is new.kind:
                yield from self.objects(path, old, new, before, after)
                return
        if old is not None:
            yield from self.whole(path, old, before, "removed")
        if new is not None:
            yield from self.whole(path, new, after, "added")

    def objects(
        self, path: bytes, old: SourceLink, new: SourceLink, before: Any, after: Any
    ) -> Iterator[Change]:
        key = (old.address, new.address)
        if (self.one_file and old.address == new.address) or key in self.seen:
            return
        self.seen.add(key)
        one, other = _open(before, old.name), _open(after, new.name)
        if _kind(one) != _kind(other):
            yield from self.whole(path, old, before, "removed")
            yield from self.whole(path, new, after, "added")
        elif isinstance(one, h5py.Group):
            if read_attributes(one) != read_attributes(other):
                yield Change(path, "group", "changed", one, other)
            yield from self.groups(path, one.id, other.id)
        elif not self.same(path, one, other):
            yield Change(path, _kind(one), "changed", one, other)

    def whole(
        self, path: bytes, link: SourceLink, parent: Any, what: Literal["added", "removed"]
    ) -> Iterator[Change]:
        side = "after" if what == "added" else "before"
        if link.kind is not LinkKind.HARD:
            yield Change(path, "link", what, **{side: link})
            return
        key = (0, link.address) if what == "added" else (link.address, 0)
        if key in self.seen:
            return
        self.seen.add(key)
        each = _open(parent, link.name)
        yield Change(path, _kind(each), what, **{side: each})
        if isinstance(each, h5py.Group):
            for below in list_links(each.id):
                yield from self.whole(path + b"/" + below.name, below, each.id, what)


def _open(parent: Any, name: bytes) -> Any:
    return h5py.Group(parent)[name]


def _kind(each: Any) -> Kind:
    if isinstance(each, h5py.Group):
        return "group"
    return "dataset" if isinstance(each, h5py.Dataset) else "datatype"


# Two versions of one store


def version_side(reader: StoreReader, version: VersionInfo) -> Side:
    """Return a version's tree."""
    tree = reader.tree(version)
    return Side(tree, root_attributes(reader, version))


def root_attributes(reader: StoreReader, version: VersionInfo) -> Attributes:
    """Return the attributes that the root of a version's source had."""
    own = read_attributes(reader.tree(version))
    kept = {name: value for name, value in own.items() if name not in layout.RESERVED_ATTRIBUTES}
    aside = reader.file.get(f"{layout.IMAGES}/{version.name}/{layout.ASIDE}")
    return kept if aside is None else {**kept, **read_attributes(aside)}


def same_in(reader: StoreReader, before: VersionInfo, after: VersionInfo) -> Same:
    """Return what tells whether two versions' objects are equal, though not the same one.

    An object that refers to a changed one is made anew with it; its fingerprint stays. A file of
    versioned-hdf5 has none, but then what is equal is made of the same chunks.
    """
    if layout.is_theirs(reader.file):
        return lambda _path, one, other: _definition(one) == _definition(other)
    old, new = known_objects(reader, before), known_objects(reader, after)

    def same(path: bytes, _one: Any, _other: Any) -> bool:
        return path in old and path in new and old[path][0] == new[path][0]

    return same


def _definition(each: Any) -> bytes:
    sketch = Sketch(each.id)
    if isinstance(each, h5py.Dataset):
        sketch.add_dataset(open_dataset(each.id))
    sketch.add_attributes(each.id, tracked=tracks_attribute_order(each.id))
    return sketch.finish(lambda address: b"%d" % address)


def known_objects(
    reader: StoreReader, version: VersionInfo
) -> dict[bytes, tuple[bytes, ObjectEntry]]:
    """Return the fingerprints and entries of a version's objects, by path."""
    image = read_image(reader.file, version.name)
    if image is None:
        return {}
    prints = image.fingerprints
    return {entry.path: (prints[i].tobytes(), entry) for i, entry in enumerate(image.objects)}


@dataclass(frozen=True)
class Counts:
    """How many objects of each kind were changed, added and removed."""

    numbers: Counter[tuple[Kind, What]]

    def by_kind(self) -> dict[Kind, dict[What, int]]:
        """Return the numbers, by kind and what happened, those that are zero too."""
        return {kind: {what: self.numbers[kind, what] for what in WHATS} for kind in KINDS}


def count_changes(reader: StoreReader, before: VersionInfo, after: VersionInfo) -> Counts:
    """Count what differs between two versions that have trees."""
    same = same_in(reader, before, after)
    changes = compare(
        version_side(reader, before), version_side(reader, after), same, one_file=True
    )
    return Counts(Counter((change.kind, change.what) for change in changes))
