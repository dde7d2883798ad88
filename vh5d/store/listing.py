"""Everything in a version, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import h5py

from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.walk import LinkKind, SourceLink, list_links
from vh5d.store.attributes import Attributes, read_attributes, type_name
from vh5d.store.compare import known_objects, root_attributes
from vh5d.store.describe import DatasetDescription, describe
from vh5d.store.images import ObjectEntry
from vh5d.store.reader import StoreReader
from vh5d.store.versions import VersionInfo


@dataclass(frozen=True)
class Listed:
    """An object or a link.

    Attributes
    ----------
    depth
        How many groups it is in; 0 for the root.
    kind
        ``link`` for one that is soft, external or user-defined.
    same_as
        The path under which the object was listed before.
    leads_to
        Of a link: a path, for an external one behind the file's name and a colon.
    type
        Of a committed datatype.
    """

    path: str
    depth: int
    kind: Literal["group", "dataset", "datatype", "link", "unreadable"]
    attributes: Attributes = field(default_factory=dict)
    dataset: DatasetDescription | None = None
    type: str | None = None
    same_as: str | None = None
    leads_to: str | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2] or "/"


def list_objects(reader: StoreReader, version: VersionInfo) -> Iterator[Listed]:
    """Go through a version, depth first, links in the order of their groups."""
    if version.kept_as == "bytes":
        return
    entries = {path: entry for path, (_, entry) in known_objects(reader, version).items()}
    yield Listed("/", 0, "group", root_attributes(reader, version))
    yield from _Listing(entries).below(reader.tree(version), b"", 1)


class _Listing:
    def __init__(self, entries: dict[bytes, ObjectEntry]) -> None:
        self._entries = entries
        self._seen: dict[int, str] = {}

    def below(self, group: h5py.Group, path: bytes, depth: int) -> Iterator[Listed]:
        for link in list_links(group.id):
            child = path + b"/" + link.name
            if link.kind is LinkKind.HARD:
                yield from self._object(group, link, child, depth)
            else:
                yield Listed(os.fsdecode(child), depth, "link", leads_to=_target(link))

    def _object(
        self, group: h5py.Group, link: SourceLink, path: bytes, depth: int
    ) -> Iterator[Listed]:
        text, known = os.fsdecode(path), self._seen.get(link.address)
        try:
            each = group[link.name]
        except H5PY_ERRORS:
            yield Listed(text, depth, "unreadable")
            return
        if isinstance(each, h5py.Group):
            if known is not None:
                yield Listed(text, depth, "group", same_as=known)
                return
            self._seen[link.address] = text
            yield Listed(text, depth, "group", read_attributes(each))
            yield from self.below(each, path, depth + 1)
            return
        self._seen.setdefault(link.address, text)
        if isinstance(each, h5py.Datatype):
            name = type_name(each.dtype)
            yield Listed(text, depth, "datatype", read_attributes(each), type=name, same_as=known)
        else:
            described = describe(each, self._entries.get(path))
            yield Listed(text, depth, "dataset", read_attributes(each), described, same_as=known)


def _target(link: SourceLink) -> str:
    target = os.fsdecode(link.target)
    if link.kind is LinkKind.EXTERNAL:
        return f"{os.fsdecode(link.file)}:{target}"
    return target if link.kind is LinkKind.SOFT else "a user-defined link"
