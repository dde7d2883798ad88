"""Trees of versions in our format, made from those of versioned-hdf5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import h5py
from blake3 import blake3

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.address import address_of, link, open_by_address
from vh5d.hdf5.attributes import copy_attributes, tracks_attribute_order
from vh5d.hdf5.copying import copy_link, copy_object, rewrite_references
from vh5d.hdf5.dataset_spec import DatasetSpec
from vh5d.hdf5.fingerprint import Sketch
from vh5d.hdf5.stubs import is_dataset, stub_group
from vh5d.hdf5.virtual import chunked_spec, copy_shown, is_virtual
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links, open_link
from vh5d.interop.chunks import ChunkSource, RawChunks
from vh5d.interop.theirs import OWN_ATTRIBUTES, Placement, placement, raw_of
from vh5d.store import layout
from vh5d.store.datasets import Index, index_of, pool_records, stage_header, stage_index
from vh5d.store.encoding import RAW
from vh5d.store.staging import StagingArea
from vh5d.store.versions import VersionInfo

Key = bytes  # what an object is, but for where it lies
Where = tuple[bytes, str]  # a dataset's path in its version, and that of its raw dataset


@dataclass(frozen=True)
class _Known:
    """An object of ours that was made for a key."""

    address: int
    index: Index | None = None


@dataclass
class _Version:
    """A version being made.

    Attributes
    ----------
    made
        Addresses of our objects by those of theirs.
    held
        Our objects that are new in this version, by addresses of theirs: they have no links yet.
    headers
        Of datasets, by addresses of theirs: staged headers, and what is to be remembered of them.
    """

    made: dict[int, int] = field(default_factory=dict)
    held: dict[int, Any] = field(default_factory=dict)
    headers: dict[int, tuple[int, Where, Key | None]] = field(default_factory=dict)


class Trees:
    """Builds versions in a store.

    What did not change from one version to another is one object in all of them.

    Parameters
    ----------
    area
        The commit.
    theirs
        The group with the versions of versioned-hdf5.
    chunks
        Brings the chunks of their datasets.

    Attributes
    ----------
    lost
        What could not be kept, one line each.
    """

    def __init__(self, area: StagingArea, theirs: h5py.Group, chunks: ChunkSource) -> None:
        self._area, self._theirs, self._chunks = area, theirs, chunks
        self._same_file = bool(theirs.file == area.file)
        self._known: dict[Key, _Known] = {}
        self._indexes: dict[str, dict[Where, Index]] = {}
        self._now = _Version()
        self.lost: list[str] = []

    def add(self, version: VersionInfo) -> None:
        """Make a version."""
        old = self._theirs[version.name]
        self._now = _Version()
        self._indexes[version.name] = {}
        for path, opened in _datasets(old.id, b"", set()):
            self._dataset(path, opened, version)
        self._place(version)
        versions, name = self._area.file[layout.VERSIONS], version.name
        made = copy_object(old.id, versions.id, name.encode(), utf8=not name.isascii())
        self._links(old.id, made, (address_of(old.id),))
        self._now.made[address_of(old.id)] = address_of(made)
        self._finish(old.id, made, layout.RESERVED_ATTRIBUTES)
        for address, new in self._now.held.items():
            self._finish(open_by_address(old.file.id, address), new, OWN_ATTRIBUTES)
        self._area.finish_version(name, previous=version.prev_version, timestamp=version.timestamp)

    # Datasets

    def _dataset(self, path: bytes, opened: Any, version: VersionInfo) -> None:
        dataset, address = h5py.Dataset(opened), address_of(opened)
        raw_path = raw_of(dataset, path.decode("utf-8", "surrogateescape"))
        if raw_path is None:
            self._other(opened)
            return
        raw = self._chunks(raw_path)
        shown = placement(dataset, raw_path, raw.shape)
        where, key = (path, raw_path), _dataset_key(dataset, raw_path, shown)
        if self._is_known(address, key, where, version):
            return
        spec = chunked_spec(opened, raw.id)
        if raw.rows is None:
            made = copy_shown(spec, raw.id, shown.mappings, self._area.file.id)
            self._note(address, key, made)
            return
        before = self._indexes.get(version.prev_version, {}).get(where)
        header = stage_header(self._area, spec, self._index(spec, shown, raw, before))
        self._now.headers[address] = header, where, key

    def _is_known(self, address: int, key: Key | None, where: Where, version: VersionInfo) -> bool:
        known = self._known.get(key) if key is not None else None
        if known is None:
            return False
        self._now.made[address] = known.address
        if known.index is not None:
            self._indexes[version.name][where] = known.index
        return True

    def _index(
        self, spec: DatasetSpec, shown: Placement, raw: RawChunks, before: Index | None
    ) -> Index:
        assert raw.rows is not None
        rows, masks = raw.rows[shown.numbers], raw.masks[shown.numbers]
        stored = rows >= 0
        records = pool_records(
            self._area.pools[RAW.name], rows[stored], shown.scaled[stored], masks[stored]
        )
        return stage_index(self._area, spec, records, before)

    def _place(self, version: VersionInfo) -> None:
        headers = self._now.headers
        placed = self._area.place([header for header, _, _ in headers.values()])
        for (address, (_, where, key)), dataset in zip(headers.items(), placed, strict=True):
            index = index_of(self._area.read, dataset)
            self._indexes[version.name][where] = index
            self._note(address, key, dataset.id, index)

    def _other(self, opened: Any) -> None:
        """Keep an object that is no group, nor a dataset of chunks."""
        address = address_of(opened)
        if self._same_file:
            self._now.made[address] = address
            return
        parent, name = self._area.file[layout.VERSIONS].id, b"vh5d-%d" % address
        made = copy_object(opened, parent, name)
        parent.unlink(name)
        self._note(address, None, made)

    def _note(self, address: int, key: Key | None, made: Any, index: Index | None = None) -> None:
        self._now.made[address] = address_of(made)
        self._now.held[address] = made
        if key is not None:
            self._known[key] = _Known(address_of(made), index)

    # Groups

    def _links(self, old: Any, made: Any, above: tuple[int, ...]) -> None:
        """Link into a group of ours what one of theirs has."""
        for each in list_links(old):
            if each.kind is LinkKind.HARD:
                child = self._child(old, each, above)
                opened = open_by_address(self._area.file.id, child)
                link(opened, made, each.name, utf8=each.utf8)
            elif each.kind is LinkKind.USER_DEFINED:
                self.lost.append(f"{each.name!r}: a user-defined link is not kept")
            else:
                copy_link(each, made)

    def _child(self, parent: Any, each: SourceLink, above: tuple[int, ...]) -> int:
        """Return the address of our object for one of theirs; make it if it is a group."""
        if each.address in self._now.made:
            return self._now.made[each.address]
        opened = open_link(parent, each)
        if each.address in above:
            raise StoreDamagedError(f"{each.name!r}: a group is its own member")
        if not is_group(opened):
            self._other(opened)
            return self._now.made[each.address]
        key = self._group_key(opened, (*above, each.address))
        known = self._known.get(key) if key is not None else None
        if known is not None:
            self._now.made[each.address] = known.address
        else:
            made = stub_group(self._area.file.id, opened)
            self._links(opened, made, (*above, each.address))
            self._note(each.address, key, made)
        return self._now.made[each.address]

    def _group_key(self, opened: Any, above: tuple[int, ...]) -> Key | None:
        attributes = _attributes_key(opened)
        if attributes is None:
            return None
        members = [
            (
                each.name,
                each.kind,
                self._child(opened, each, above) if each.kind is LinkKind.HARD else each,
            )
            for each in list_links(opened)
        ]
        return blake3(repr((attributes, members)).encode()).digest()

    # Attributes

    def _finish(self, old: Any, made: Any, own: tuple[str, ...]) -> None:
        """Copy the attributes of an object, and the references in it."""
        self.lost += copy_attributes(
            old, made, self._translate, select=lambda name: name.decode(errors="replace") not in own
        )
        if is_dataset(old) and not is_virtual(old):
            self.lost += rewrite_references(old, made, self._translate)

    def _translate(self, address: int) -> int | None:
        return self._now.made.get(address, address if self._same_file else None)


def _datasets(group: Any, path: bytes, seen: set[int]) -> Iterator[tuple[bytes, Any]]:
    """Yield the datasets below a group, each once."""
    for each in list_links(group):
        if each.kind is not LinkKind.HARD or each.address in seen:
            continue
        seen.add(each.address)
        opened, where = open_link(group, each), path + each.name
        if is_group(opened):
            yield from _datasets(opened, where + b"/", seen)
        elif is_dataset(opened):
            yield where, opened


def _attributes_key(opened: Any) -> bytes | None:
    """Return what tells the attributes of an object from others; None if they refer to objects."""
    sketch = Sketch(opened)
    sketch.add_attributes(opened, tracked=tracks_attribute_order(opened))
    return None if sketch.refers_to else sketch.finish(lambda _: None)


def _dataset_key(dataset: h5py.Dataset, raw: str, shown: Placement) -> Key | None:
    attributes = _attributes_key(dataset.id)
    if attributes is None:
        return None
    digest = blake3(repr((raw, dataset.shape, len(shown.scaled), attributes)).encode())
    digest.update(shown.scaled.tobytes())
    digest.update(shown.numbers.tobytes())
    return digest.digest()
