"""Versions of one chunk index in a file of nothing else, checked against plain dicts."""

from __future__ import annotations

import numpy as np

from tests.support.chunk_index import Key, Tree, Value, walk
from vh5d.hdf5.block_image import STAGED, BlockImage
from vh5d.hdf5.chunk_index import ChunkRecords, IndexFormat, build, update


def records_of(chunks: dict[Key, Value], ndim: int) -> ChunkRecords:
    """Chunk records of a dict, in any order."""
    keys = sorted(chunks)
    values = np.array([chunks[key] for key in keys], np.uint64).reshape(-1, 3)
    scaled = np.array(keys, np.uint64).reshape(-1, ndim)
    return ChunkRecords.from_unsorted(scaled, *values.T)


def dict_of(records: ChunkRecords) -> dict[Key, Value]:
    """The reverse of `records_of`."""
    rows = (records.scaled, records.addresses, records.sizes, records.masks)
    return {
        tuple(map(int, key)): (int(address), int(size), int(mask))
        for key, address, size, mask in zip(*rows, strict=True)
    }


class History:
    """An append-only file of images; every version's index and what it must hold."""

    def __init__(self, fmt: IndexFormat) -> None:
        self.fmt = fmt
        self.data = bytearray(b"\x89 nothing here")
        self.root = 2**64 - 1
        self.chunks: dict[Key, Value] = {}
        self.written = 0

    def read(self, address: int, nbytes: int) -> bytes:
        return bytes(self.data[address : address + nbytes])

    def build(self, chunks: dict[Key, Value]) -> Tree:
        image = BlockImage()
        root = build(records_of(chunks, self.fmt.ndim), self.fmt, image)
        self.chunks = dict(chunks)
        return self._commit(image, root)

    def update(self, puts: dict[Key, Value], removes: list[Key] = ()) -> Tree:
        """Commit a version; the tree as a second reader sees it, found to be right."""
        image = BlockImage()
        before = bytes(self.data)
        root, self.fmt = update(
            self.read,
            self.root,
            self.fmt,
            records_of(puts, self.fmt.ndim),
            np.array(removes, np.uint64).reshape(-1, self.fmt.ndim),
            image,
        )
        for key in removes:
            self.chunks.pop(key, None)
        self.chunks.update(puts)
        tree = self._commit(image, root)
        assert self.data[: len(before)] == before
        return tree

    def _commit(self, image: BlockImage, root: int) -> Tree:
        base = len(self.data)
        self.data += image.render(base)
        self.written = len(image)
        self.root = BlockImage.resolve(root, base)
        return self.tree()

    def tree(self) -> Tree:
        """The present version as a second reader sees it; AssertionError when it is wrong."""
        tree = walk(self.read, self.root, self.fmt.ndim, self.fmt.chunk_nbytes)
        assert tree.records == self.chunks
        return tree

    def reader_of(self, image: BlockImage):
        """`read` for an update of what is staged in `image`."""

        def read(address: int, nbytes: int) -> bytes:
            return image.read(address, nbytes) if address >= STAGED else self.read(address, nbytes)

        return read
