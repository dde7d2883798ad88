"""Checks the objects of a version: that they open, and that what was copied whole is right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py

from vh5d.hdf5.dataset_info import open_dataset
from vh5d.hdf5.element_type import layout_of
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.walk import LinkKind, SourceLink, list_links
from vh5d.store import layout
from vh5d.store.allocated import allocated_boxes
from vh5d.store.attributes import Attributes, plain, read_attributes
from vh5d.store.blueprint import Blueprint
from vh5d.store.captured_file import CapturedFile
from vh5d.store.describe import describe
from vh5d.store.images import ObjectEntry
from vh5d.store.reader import StoreReader
from vh5d.store.versions import VersionInfo

Found = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class _Checked:
    """What was found of an object, and of all below it, whatever path leads to it.

    Attributes
    ----------
    compared
        Whether it was compared with its source.
    found
        Paths from the object on, and what is wrong.
    """

    compared: bool
    found: tuple[tuple[bytes, str], ...] = ()


Seen = dict[int, _Checked]


def check_tree(
    reader: StoreReader, version: VersionInfo, plan: Blueprint | None, seen: Seen
) -> Found:
    """Open every object of a version, and compare what was copied whole with its source.

    Chunks in pools are not looked at: they are known by their hashes.

    Parameters
    ----------
    reader, version
        The version.
    plan
        Its file, known to be right; without it nothing is compared.
    seen
        What was found of objects by their addresses, in earlier versions too; grows.

    Yields
    ------
    tuple
        An object's path, and what is wrong with it.
    """
    entries = {} if plan is None else {each.path: each for each in plan.image.objects}
    source = None if plan is None else h5py.File(CapturedFile(reader.read, plan), "r")
    try:
        check = _TreeCheck(entries, seen)
        root = source["/"] if source is not None else None
        for path, message in check.group(reader.tree(version), b"", root):
            yield os.fsdecode(path) or "/", message
    finally:
        if source is not None:
            source.close()


class _TreeCheck:
    def __init__(self, entries: dict[bytes, ObjectEntry], seen: Seen) -> None:
        self._entries = entries
        self._seen = seen

    def group(self, group: h5py.Group, path: bytes, source: Any) -> Iterator[tuple[bytes, str]]:
        yield from self._attributes(group, path, source)
        for link in list_links(group.id):
            if link.kind is LinkKind.HARD:
                child = path + b"/" + link.name
                for below, message in self._member(group, link, child, source).found:
                    yield child + below, message

    def _member(self, group: h5py.Group, link: SourceLink, path: bytes, source: Any) -> _Checked:
        known = self._seen.get(link.address)
        if known is not None and (known.compared or source is None):
            return known
        # Until it is done: it may lead to itself.
        self._seen[link.address] = _Checked(compared=True)
        found: list[tuple[bytes, str]] = []
        try:
            each = group[link.name]
            origin = None if source is None else source[link.name]
            check = self.group if isinstance(each, h5py.Group) else self._leaf
            found += check(each, path, origin)
        except H5PY_ERRORS as error:
            found.append((path, f"it cannot be read: {error}"))
        checked = _Checked(
            compared=source is not None,
            found=tuple((below[len(path) :], message) for below, message in found),
        )
        self._seen[link.address] = checked
        return checked

    def _leaf(self, each: Any, path: bytes, source: Any) -> Iterator[tuple[bytes, str]]:
        yield from self._attributes(each, path, source)
        entry = self._entries.get(path)
        if source is None or (entry is not None and entry.encoding is not None):
            return
        if _definition(each) != _definition(source):
            yield path, "it is not defined as what was captured"
        elif not _same(_values(each), _values(source)):
            yield path, "its values are not those that were captured"

    def _attributes(self, each: Any, path: bytes, source: Any) -> Iterator[tuple[bytes, str]]:
        own = read_attributes(each)
        if source is None:
            return
        theirs = read_attributes(source)
        for name in _differing(own, theirs, () if path else layout.RESERVED_ATTRIBUTES):
            yield path, f"attribute {name!r} is not the one that was captured"


def _differing(own: Attributes, theirs: Attributes, reserved: tuple[str, ...]) -> Iterator[str]:
    for name, value in own.items():
        # One that could not be kept is not there, and a capture warned of it.
        if name in reserved or name not in theirs:
            continue
        kind, their_kind = (value.type, value.shape), (theirs[name].type, theirs[name].shape)
        if kind != their_kind or not _same(value.value, theirs[name].value):
            yield name


def _definition(each: Any) -> tuple[Any, ...]:
    """Return what an object is, values and attributes aside."""
    if not isinstance(each, h5py.Dataset):
        named = isinstance(each, h5py.Datatype)
        return (type(each), layout_of(each.id).canonical if named else None)
    opened = open_dataset(each.id)
    info = opened.info
    try:
        fill = plain(each.fillvalue, each.file)
    except H5PY_ERRORS:
        fill = None
    return (
        opened.layout.canonical,
        info.shape,
        info.maxshape,
        info.chunks,
        info.filters,
        info.storage,
        fill,
    )


def _values(each: Any) -> Any:
    if not isinstance(each, h5py.Dataset) or describe(each).elsewhere:
        return None
    boxes = allocated_boxes(each)
    return [(box.start, plain(each[box.slices], each.file)) for box in boxes]


def _same(own: Any, theirs: Any) -> bool:
    """Whether values are equal; a reference that a capture could not keep is null."""
    if isinstance(own, list | tuple) and isinstance(theirs, list | tuple):
        return len(own) == len(theirs) and all(map(_same, own, theirs))
    if isinstance(own, dict) and isinstance(theirs, dict):
        return own.keys() == theirs.keys() and all(_same(own[key], theirs[key]) for key in own)
    if own is None and isinstance(theirs, str) and theirs.startswith("-> "):
        return True
    return bool(own == theirs)
