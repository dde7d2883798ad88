"""Images: what a version's file was, apart from the chunks that its tree already names.

An image holds the source's pages (everything that is no chunk of a dataset), the offset of every
chunk, and what is needed to see, at the next capture, which objects changed. With the chunks of
the version's tree it makes the file again, byte for byte.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.store import layout
from vh5d.store.datasets import Table, read_table, write_table
from vh5d.store.staging import StagingArea

FINGERPRINT_NBYTES = 16

# Columns of the pages table.
PAGE_OFFSET, PAGE_NBYTES, PAGE_POOL, PAGE_ROW = range(4)


@dataclass(frozen=True)
class ObjectEntry:
    """One object of a source, as an image lists it.

    Attributes
    ----------
    path
        Its first path, absolute, as bytes.
    encoding
        Name of the encoding of its chunks; None for an object whose bytes are all in pages.
    chunks
        How many chunks it has.
    padded_to
        Bytes of a whole chunk where its last ones are padded, else 0.
    """

    path: bytes
    encoding: str | None = None
    chunks: int = 0
    padded_to: int = 0


@dataclass(frozen=True)
class SourceFacts:
    """What a version says of the file that it was captured from.

    `inode` and `rewrites` are told of a file that was growing: which file it was, and whether its
    writer was seen to rewrite chunks where they lay.
    """

    path: str
    size: int
    mtime_ns: int
    mode: int
    host: str
    cause: str
    digest: str
    kept_as: str
    inode: int | None = None
    rewrites: bool = False


@dataclass(frozen=True)
class Image:
    """A version's image.

    Attributes
    ----------
    facts
        What the source was.
    objects
        Its objects in walk order; empty when it was kept by bytes.
    fingerprints
        (len(objects), 16) uint8.
    offsets
        (k, 2) uint64: file offset and length of each chunk, dataset after dataset.
    pages
        (m, 4) uint64: file offset, length, index into `pools`, row in that pool.
    pools
        Names of the pools that hold pages.
    """

    facts: SourceFacts
    objects: tuple[ObjectEntry, ...]
    fingerprints: NDArray[np.uint8]
    offsets: NDArray[np.uint64]
    pages: NDArray[np.uint64]
    pools: tuple[str, ...]


def write_image(area: StagingArea, version: str, image: Image, previous: str | None) -> h5py.Group:
    """Keep an image, sharing what the previous version's has in common with it."""
    images = area.file[layout.IMAGES]
    group = images.create_group(version)
    before = images.get(previous) if previous is not None else None
    for table in (
        Table("objects", _pack(image.objects)),
        Table("fingerprints", image.fingerprints),
        Table("offsets", image.offsets),
        Table("pages", image.pages),
    ):
        write_table(area, group, table, before)
    facts = image.facts
    # File names are bytes, and not always UTF-8.
    group.attrs.create("source_path", os.fsencode(facts.path), dtype=h5py.string_dtype())
    group.attrs["source_size"] = facts.size
    group.attrs["source_mtime_ns"] = facts.mtime_ns
    group.attrs["source_mode"] = facts.mode
    group.attrs["host"] = facts.host
    group.attrs["cause"] = facts.cause
    group.attrs["digest"] = facts.digest
    group.attrs["kept_as"] = facts.kept_as
    group.attrs["pools"] = list(image.pools)
    if facts.inode is not None:
        group.attrs["source_inode"] = facts.inode
        group.attrs["rewrites"] = facts.rewrites
    return group


def read_image(file: h5py.File, version: str) -> Image | None:
    """Return a version's image, or None when it was not captured from a file."""
    group = file.get(f"{layout.IMAGES}/{version}")
    if group is None:
        return None
    attributes = group.attrs
    return Image(
        facts=SourceFacts(
            path=str(attributes["source_path"]),
            size=int(attributes["source_size"]),
            mtime_ns=int(attributes["source_mtime_ns"]),
            mode=int(attributes["source_mode"]),
            host=str(attributes["host"]),
            cause=str(attributes["cause"]),
            digest=str(attributes["digest"]),
            kept_as=str(attributes["kept_as"]),
            inode=int(attributes["source_inode"]) if "source_inode" in attributes else None,
            rewrites=bool(attributes.get("rewrites", False)),
        ),
        objects=_unpack(read_table(group, "objects", 1, np.uint8), version),
        fingerprints=read_table(group, "fingerprints", FINGERPRINT_NBYTES, np.uint8),
        offsets=read_table(group, "offsets", 2, np.uint64),
        pages=read_table(group, "pages", 4, np.uint64),
        pools=tuple(str(name) for name in attributes["pools"]),
    )


def _pack(objects: Sequence[ObjectEntry]) -> NDArray[np.uint8]:
    listed = [
        [os.fsdecode(each.path), each.encoding, each.chunks, each.padded_to] for each in objects
    ]
    packed = zlib.compress(json.dumps(listed, separators=(",", ":")).encode(), 6)
    return np.frombuffer(packed, np.uint8).reshape(-1, 1)


def _unpack(packed: NDArray[np.uint8], version: str) -> tuple[ObjectEntry, ...]:
    try:
        listed: list[Any] = json.loads(zlib.decompress(packed.tobytes()))
    except (zlib.error, ValueError) as error:
        raise StoreDamagedError(f"the image of version {version!r} is damaged: {error}") from error
    return tuple(
        ObjectEntry(os.fsencode(path), encoding, chunks, padded_to)
        for path, encoding, chunks, padded_to in listed
    )
