"""Walks a file: every object once, with its fingerprint, whatever its links look like.

Soft and external links are told, never followed. Hard links may form cycles; an object's own path
is the first by which the walk comes to it. Groups are walked depth first, links in the order of
creation where the group tracks it and by name where it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from h5py import h5, h5d, h5g, h5l, h5o, h5t

from vh5d.hdf5.dataset_info import DatasetInfo, Storage, open_dataset
from vh5d.hdf5.element_type import layout_of
from vh5d.hdf5.fingerprint import Sketch, sketch_object
from vh5d.hdf5.references import H5PY_ERRORS


class Kind(Enum):
    """What an object is."""

    GROUP = "group"
    DATASET = "dataset"
    DATATYPE = "datatype"
    UNREADABLE = "unreadable"  # something is there, but HDF5 cannot open it


class LinkKind(Enum):
    """What a link is."""

    HARD = "hard"
    SOFT = "soft"
    EXTERNAL = "external"
    USER_DEFINED = "user-defined"


@dataclass(frozen=True, slots=True)
class SourceLink:
    """A link of a group.

    Attributes
    ----------
    name
        As stored.
    kind
        See `LinkKind`.
    address
        Of a hard link's object header; 0 for the others.
    target
        A soft link's path, an external link's object path.
    file
        An external link's file.
    utf8
        Whether the name is marked as UTF-8, not ASCII.
    """

    name: bytes
    kind: LinkKind
    address: int = 0
    target: bytes = b""
    file: bytes = b""
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class SourceObject:
    """An object of a source file.

    Attributes
    ----------
    path
        The first by which the walk came to it.
    address
        Of its object header, relative to the end of the userblock.
    kind
        See `Kind`.
    fingerprint
        16 bytes, the same as long as the object is; see `vh5d.hdf5.fingerprint`.
    refers_to
        Addresses of the objects that its attributes and values hold references to.
    links
        Of a group.
    dataset
        Of a dataset.
    """

    path: bytes
    address: int
    kind: Kind
    fingerprint: bytes
    refers_to: frozenset[int] = frozenset()
    links: tuple[SourceLink, ...] = ()
    dataset: DatasetInfo | None = None

    @property
    def storage(self) -> Storage | None:
        """How a dataset's values are kept."""
        return self.dataset.storage if self.dataset else None


@dataclass(frozen=True, slots=True)
class SourceTree:
    """All that a walk found.

    Attributes
    ----------
    objects
        By address, in the order of the walk; the root group first.
    root
        Address of the root group.
    problems
        What could not be read, one line each. Nothing else is missing.
    """

    objects: dict[int, SourceObject]
    root: int
    problems: list[str]

    def __iter__(self) -> Iterator[SourceObject]:
        return iter(self.objects.values())


@dataclass(slots=True)
class _Found:
    """An object whose fingerprint waits for the paths of all others."""

    path: bytes
    kind: Kind
    sketch: Sketch
    links: tuple[SourceLink, ...] = ()
    dataset: DatasetInfo | None = None


@dataclass(slots=True)
class _Walk:
    loc: Any
    found: dict[int, _Found] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def visit(self, opened: Any, address: int, path: bytes) -> tuple[SourceLink, ...]:
        """Take note of an object; return the links to go on with."""
        try:
            found = _describe(self.loc, opened, path)
        except H5PY_ERRORS as error:
            self.unreadable(address, path, error)
            return ()
        self.found[address] = found
        self.problems += [f"{_text(path)}: {line}" for line in found.sketch.unread]
        return found.links

    def unreadable(self, address: int, path: bytes, error: Exception) -> None:
        """Take note of an object that HDF5 cannot open."""
        sketch = Sketch(self.loc)
        sketch.add(Kind.UNREADABLE.value)
        self.found[address] = _Found(path, Kind.UNREADABLE, sketch)
        self.problems.append(f"{_text(path)}: cannot be opened: {error}")

    def finish(self) -> dict[int, SourceObject]:
        """Finish the fingerprints, now that every path is known."""

        def path_of(address: int) -> bytes | None:
            found = self.found.get(address)
            return found.path if found else None

        return {
            address: SourceObject(
                found.path,
                address,
                found.kind,
                found.sketch.finish(path_of),
                frozenset(found.sketch.refers_to),
                found.links,
                found.dataset,
            )
            for address, found in self.found.items()
        }


def walk(file_id: Any) -> SourceTree:
    """Walk a file from its root group.

    Parameters
    ----------
    file_id
        h5py's FileID.

    Returns
    -------
    SourceTree
        Every object that hard links lead to.

    Raises
    ------
    OSError, RuntimeError
        When the root group itself cannot be opened.
    """
    state = _Walk(file_id)
    group = h5o.open(file_id, b"/")
    root = int(h5o.get_info(group).addr)
    pending = [(group, b"", iter(state.visit(group, root, b"/")))]
    while pending:
        group, path, links = pending[-1]
        link = next((i for i in links if _is_new(i, state)), None)
        if link is None:
            pending.pop()
            continue
        child = path + b"/" + link.name
        try:
            opened = h5o.open(group, link.name)
        except H5PY_ERRORS as error:
            state.unreadable(link.address, child, error)
            continue
        below = state.visit(opened, link.address, child)
        if below:
            pending.append((opened, child, iter(below)))
    return SourceTree(state.finish(), root, state.problems)


def _is_new(link: SourceLink, state: _Walk) -> bool:
    return link.kind is LinkKind.HARD and link.address not in state.found


def _describe(loc: Any, opened: Any, path: bytes) -> _Found:
    if isinstance(opened, h5g.GroupID):
        return _describe_group(loc, opened, path)
    if isinstance(opened, h5d.DatasetID):
        dataset = open_dataset(opened)
        sketch = sketch_object(loc, opened, kind=Kind.DATASET.value, plist=dataset.dcpl)
        sketch.add_dataset(dataset)
        return _Found(path, Kind.DATASET, sketch, dataset=dataset.info)
    if isinstance(opened, h5t.TypeID):
        plist = opened.get_create_plist()
        sketch = sketch_object(loc, opened, kind=Kind.DATATYPE.value, plist=plist)
        sketch.add_type(opened, layout_of(opened))
        return _Found(path, Kind.DATATYPE, sketch)
    raise TypeError(f"an object of an unknown kind, {type(opened).__name__}")


def _describe_group(loc: Any, group: Any, path: bytes) -> _Found:
    plist = group.get_create_plist()
    order = plist.get_link_creation_order()
    sketch = sketch_object(loc, group, kind=Kind.GROUP.value, plist=plist)
    links = _links(group, tracked=bool(order))
    sketch.add(order, len(links))
    for link in links:
        sketch.add(link.name, link.kind.value, link.target, link.file, link.utf8)
        sketch.add_target(link.address)
    return _Found(path, Kind.GROUP, sketch, links=links)


def list_links(group: Any) -> tuple[SourceLink, ...]:
    """List a group's links, in the order of creation where it tracks it, else by name.

    Parameters
    ----------
    group
        h5py's GroupID.
    """
    return _links(group, tracked=bool(group.get_create_plist().get_link_creation_order()))


def find_link(group: Any, name: bytes) -> SourceLink | None:
    """Return the link of this name in a group, None if there is none.

    Parameters
    ----------
    group
        h5py's GroupID.
    name
        One component of a path.
    """
    if not group.links.exists(name):
        return None
    info = group.links.get_info(name)
    return _link(group, name, info.type, int(info.u), utf8=info.cset == h5t.CSET_UTF8)


def is_group(opened: Any) -> bool:
    """Whether an open object is a group."""
    return isinstance(opened, h5g.GroupID)


def open_link(group: Any, link: SourceLink) -> Any:
    """Open what a hard link of a group leads to."""
    return h5o.open(group, link.name)


def _links(group: Any, *, tracked: bool) -> tuple[SourceLink, ...]:
    found: list[tuple[bytes, bool, int, int]] = []

    def note(name: bytes, info: Any) -> None:  # h5py hands in the same info every time
        found.append((name, info.cset == h5t.CSET_UTF8, info.type, int(info.u)))

    group.links.iterate(
        note,
        idx_type=h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME,
        order=h5.ITER_INC,
        info=True,
    )
    return tuple(
        _link(group, name, kind, address, utf8=utf8) for name, utf8, kind, address in found
    )


def _link(group: Any, name: bytes, kind: int, address: int, *, utf8: bool) -> SourceLink:
    if kind == h5l.TYPE_HARD:
        return SourceLink(name, LinkKind.HARD, address=address, utf8=utf8)
    if kind == h5l.TYPE_SOFT:
        return SourceLink(name, LinkKind.SOFT, target=group.links.get_val(name), utf8=utf8)
    if kind == h5l.TYPE_EXTERNAL:
        file, target = group.links.get_val(name)
        return SourceLink(name, LinkKind.EXTERNAL, target=target, file=file, utf8=utf8)
    return SourceLink(name, LinkKind.USER_DEFINED, utf8=utf8)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
