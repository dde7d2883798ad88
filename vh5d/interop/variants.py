"""Which raw dataset each dataset of a history goes to.

versioned-hdf5 has one for each path, of one element type, chunk shape and filter pipeline. Where
these change in the course of a history, the current version has it; those before get others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import h5py

from vh5d.hdf5.address import address_of
from vh5d.hdf5.dataset_info import OpenDataset, open_dataset
from vh5d.hdf5.fingerprint import Sketch
from vh5d.hdf5.stubs import default_chunks, is_array, is_dataset
from vh5d.hdf5.virtual import stored_itemsize
from vh5d.hdf5.walk import LinkKind, is_group, list_links, open_link


@dataclass
class Variant:
    """A raw dataset to be made.

    Attributes
    ----------
    path
        Of its group, below `/_version_data`.
    like
        A dataset that has its element type, filters and fill value.
    chunks
        Shape of a chunk.
    """

    path: str
    like: h5py.Dataset
    chunks: tuple[int, ...]


@dataclass
class Variants:
    """The raw datasets of a history.

    Attributes
    ----------
    of
        The variant of each dataset, by its address.
    refused
        Why a dataset cannot be kept, by its address.
    several
        Paths that have more than one.
    """

    of: dict[int, Variant] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    several: list[str] = field(default_factory=list)


@dataclass
class _Seen:
    """A dataset at a path, in the order of versions."""

    address: int
    dataset: OpenDataset
    key: bytes


def plan(trees: Iterable[h5py.Group]) -> Variants:
    """Find what raw datasets there are to be.

    Parameters
    ----------
    trees
        The versions, the current one last.
    """
    found, paths = Variants(), dict[str, list[_Seen]]()
    for tree in trees:
        for path, opened in datasets_of(tree.id):
            address = address_of(opened)
            if address in found.refused:
                continue
            dataset = open_dataset(opened)
            reason = _refusal(dataset)
            if reason is not None:
                found.refused[address] = reason
                continue
            at_path = paths.setdefault(path, [])
            if all(each.address != address for each in at_path[-1:]):
                at_path.append(_Seen(address, dataset, _key(dataset)))
    for path, seen in paths.items():
        _assign(found, path, seen)
    return found


def _refusal(dataset: OpenDataset) -> str | None:
    """Return why versioned-hdf5 cannot have a dataset, None if it can."""
    if dataset.info.shape is None:
        return "it is empty (null)"
    if not dataset.info.shape:
        return "it is a scalar"
    if stored_itemsize(dataset.type_id) is None:
        return "its element type"
    if not is_array(dataset) and dataset.layout.plain:
        return "its values are in other files or datasets"
    return None


def _key(dataset: OpenDataset) -> bytes:
    """Return what must be alike for chunks to go to one raw dataset, the chunk shape aside."""
    sketch = Sketch(dataset.id)
    sketch.add_type(dataset.type_id, dataset.layout)
    sketch.add(len(dataset.info.shape or ()), dataset.info.filters)
    sketch.add_bytes(repr(h5py.Dataset(dataset.id).fillvalue).encode())
    return sketch.finish(lambda _: None)


def _assign(found: Variants, path: str, seen: list[_Seen]) -> None:
    variants: dict[tuple[bytes, tuple[int, ...]], Variant] = {}
    chunked = [each for each in reversed(seen) if each.dataset.info.chunks is not None]
    rest = [each for each in reversed(seen) if each.dataset.info.chunks is None]
    for each in (*chunked, *rest):
        chunks = each.dataset.info.chunks or _chunks_for(each, list(variants))
        key = (each.key, chunks)
        if key not in variants:
            # The newest comes first.
            name = path if not variants else f"{path}~{len(variants)}"
            variants[key] = Variant(name, h5py.Dataset(each.dataset.id), chunks)
        found.of[each.address] = variants[key]
    if len(variants) > 1:
        found.several.append(path)


def _chunks_for(each: _Seen, known: list[tuple[bytes, tuple[int, ...]]]) -> tuple[int, ...]:
    alike = [chunks for key, chunks in known if key == each.key]
    if alike:
        return alike[0]
    return default_chunks(each.dataset.info.shape or (), each.dataset.info.itemsize)


def datasets_of(group: Any, path: bytes = b"") -> Iterator[tuple[str, Any]]:
    """Yield the datasets below a group: path and identifier."""
    for each in list_links(group):
        if each.kind is not LinkKind.HARD:
            continue
        opened, where = open_link(group, each), path + each.name
        if is_group(opened):
            yield from datasets_of(opened, where + b"/")
        elif is_dataset(opened):
            yield os.fsdecode(where), opened
