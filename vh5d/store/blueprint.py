"""How to make a version's file again: every piece of it, and where the store has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError, UsageError
from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.store import encoding, layout
from vh5d.store.datasets import Read, records_of
from vh5d.store.encoding import Encoding
from vh5d.store.images import (
    PAGE_NBYTES,
    PAGE_OFFSET,
    PAGE_POOL,
    PAGE_ROW,
    Image,
    ObjectEntry,
    read_image,
)
from vh5d.store.pieces import Pieces
from vh5d.store.pools import ADDRESS, MASK, STORED, Pools


@dataclass(frozen=True)
class Blueprint:
    """The pieces of a captured file, and where they lie in the store.

    Attributes
    ----------
    image
        The version's image.
    pieces
        (m) pieces that cover the file, in order of their offset.
    addresses, stored
        (m,) uint64, where each lies in the store, and its length there.
    masks
        (m,) uint32, the filter mask it was encoded with.
    chunks
        (k,) the piece of every chunk, dataset after dataset.
    """

    image: Image
    pieces: Pieces
    addresses: NDArray[np.uint64]
    stored: NDArray[np.uint64]
    masks: NDArray[np.uint32]
    chunks: NDArray[np.intp]


RecordsOf: TypeAlias = Callable[[ObjectEntry], ChunkRecords]


def blueprint(
    read: Read,
    file: h5py.File,
    pools: Pools,
    version: str,
    *,
    records: RecordsOf | None = None,
) -> Blueprint:
    """Return how to make a version's file again.

    Parameters
    ----------
    read, file, pools
        The store.
    version
        Its name.
    records
        Returns the index records of a dataset of the version; by default they are read.

    Raises
    ------
    UsageError
        When the version was not captured from a file.
    StoreDamagedError
        When tree and image do not belong together.
    """
    image = read_image(file, version)
    if image is None:
        raise UsageError(
            f"version {version!r} was staged from Python: there is no source file to restore",
            hint="read it with h5py or VersionedHDF5File",
        )
    encodings = _encodings(image)
    tree = file[f"{layout.VERSIONS}/{version}"]
    find = records or (lambda entry: read_records_of(read, tree, entry))
    located = [_locate(find(entry), entry, version) for entry in image.objects if entry.chunks]
    located.append(_locate_pages(image, pools))
    entries = [entry for entry in image.objects if entry.chunks]
    kinds = [
        np.full(entry.chunks, encodings.index(encoding.by_name(str(entry.encoding))))
        for entry in entries
    ]
    kinds.append(
        np.array([encodings.index(encoding.by_name(name)) for name in image.pools], np.int64)[
            image.pages[:, PAGE_POOL].astype(np.intp)
        ]
        if len(image.pages)
        else np.empty(0, np.int64)
    )
    return _sorted(image, encodings, entries, np.concatenate(located), np.concatenate(kinds))


def _encodings(image: Image) -> tuple[Encoding, ...]:
    names = [*image.pools, *(each.encoding for each in image.objects if each.encoding is not None)]
    return tuple(encoding.by_name(name) for name in dict.fromkeys(names))


def read_records_of(read: Read, tree: h5py.Group, entry: ObjectEntry) -> ChunkRecords:
    """Return the index records of a dataset of a version.

    Raises
    ------
    StoreDamagedError
        There is no such dataset, or its index is damaged.
    """
    dataset = tree.get(entry.path.lstrip(b"/"))
    if not isinstance(dataset, h5py.Dataset):
        raise StoreDamagedError(
            f"{tree.name}: no dataset {entry.path!r} although its image has one"
        )
    return records_of(read, dataset)


def _locate(records: ChunkRecords, entry: ObjectEntry, version: str) -> NDArray[np.uint64]:
    if len(records) != entry.chunks:
        raise StoreDamagedError(
            f"{version}: {entry.path!r} has {len(records)} chunks, its image lists {entry.chunks}"
        )
    return np.stack([records.addresses, records.sizes, records.masks.astype(np.uint64)], axis=1)


def _locate_pages(image: Image, pools: Pools) -> NDArray[np.uint64]:
    located = np.empty((len(image.pages), 3), np.uint64)
    for number, name in enumerate(image.pools):
        of_pool = np.flatnonzero(image.pages[:, PAGE_POOL] == number)
        table = pools[name].rows(image.pages[of_pool, PAGE_ROW].astype(np.int64))
        located[of_pool] = table[:, [ADDRESS, STORED, MASK]]
    return located


def _sorted(
    image: Image,
    encodings: tuple[Encoding, ...],
    entries: Sequence[ObjectEntry],
    located: NDArray[np.uint64],
    kinds: NDArray[np.int64],
) -> Blueprint:
    page_nbytes = image.pages[:, PAGE_NBYTES]
    padded_to = np.repeat(
        np.array([entry.padded_to for entry in entries], np.uint64),
        [entry.chunks for entry in entries],
    )
    offsets = np.concatenate([image.offsets[:, 0], image.pages[:, PAGE_OFFSET]])
    nbytes = np.concatenate([image.offsets[:, 1], page_nbytes])
    padded = np.concatenate([np.maximum(image.offsets[:, 1], padded_to), page_nbytes])
    order = np.lexsort((nbytes, offsets))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return Blueprint(
        image=image,
        pieces=Pieces(offsets[order], nbytes[order], padded[order], kinds[order], encodings),
        addresses=located[order, 0],
        stored=located[order, 1],
        masks=located[order, 2].astype(np.uint32),
        chunks=place[: len(image.offsets)],
    )
