"""The journal of a commit: the pages that change below the committed end, and the new end.

It lies beside the store as `<store>-journal`, from just before the first page is applied until the
last is durable. A digest over everything tells a whole journal from one half written; digests of
the superblock before and after tell whether it belongs to the store as it is.

Layout, little-endian: header (see `_HEADER`), the page numbers (8 bytes each, ascending), the
pages (`PAGE` bytes each; the one that holds the committed end stops there), BLAKE3 of all that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3

from vh5d.hdf5.disk import Disk, write_fully, zero_range
from vh5d.hdf5.superblock import Superblock

PAGE = 4096
"""Bytes of a shadow page."""

_MAGIC = b"VH5DJRNL"
_VERSION = 1
# magic, version, page size, pages, base, floor, size, superblock at, its length, digest of the
# superblock before, digest of it after
_HEADER = struct.Struct("<8sIIQQQQQQ32s32s")
_DIGEST = 32
_BATCH = 256


def journal_path(store: Path) -> Path:
    """Where the journal of a store lies."""
    return store.with_name(store.name + "-journal")


def superblock_digest(superblock: Superblock) -> bytes:
    """BLAKE3 of a superblock, whatever its consistency flags."""
    return blake3(superblock.with_status_flags(0)).digest()


@dataclass(frozen=True)
class Journal:
    """A commit, ready to be applied once or many times over.

    Attributes
    ----------
    base
        Committed end of the store before, in bytes.
    floor
        Lowest size the file had while the commit was staged: bytes from here to `base` that no
        page holds are zeros.
    size
        Committed end of the store after.
    superblock_at, superblock_nbytes
        Where the superblock lies: what is written last.
    before, after
        Digests of the superblock of the state it applies to, and of the one it makes.
    pages
        Page number to content.
    """

    base: int
    floor: int
    size: int
    superblock_at: int
    superblock_nbytes: int
    before: bytes
    after: bytes
    pages: Mapping[int, bytearray | memoryview]

    def write(self, disk: Disk, fd: int) -> None:
        """Write the journal to an empty file."""
        digest, at = blake3(), 0
        for part in self._parts():
            digest.update(part)
            write_fully(disk, fd, memoryview(part), at)
            at += len(part)
        write_fully(disk, fd, memoryview(digest.digest()), at)

    def _parts(self) -> Iterator[bytes]:
        numbers = sorted(self.pages)
        header = _HEADER.pack(
            _MAGIC,
            _VERSION,
            PAGE,
            len(numbers),
            self.base,
            self.floor,
            self.size,
            self.superblock_at,
            self.superblock_nbytes,
            self.before,
            self.after,
        )
        yield header + np.array(numbers, "<u8").tobytes()
        for first in range(0, len(numbers), _BATCH):
            yield b"".join(self.pages[number] for number in numbers[first : first + _BATCH])

    @classmethod
    def decode(cls, data: bytes) -> Journal | None:
        """The journal in these bytes, or None if they are not a whole one."""
        if len(data) < _HEADER.size + _DIGEST or not data.startswith(_MAGIC):
            return None
        body = memoryview(data)[:-_DIGEST]
        if blake3(body).digest() != data[-_DIGEST:]:
            return None
        _, version, page, count, base, floor, size, at, nbytes, before, after = _HEADER.unpack_from(
            body
        )
        if (version, page) != (_VERSION, PAGE):
            return None
        numbers = np.frombuffer(body, "<u8", count, _HEADER.size).tolist()
        pages: dict[int, bytearray | memoryview] = {}
        position = _HEADER.size + 8 * count
        for number in numbers:
            length = min(PAGE, base - number * PAGE)
            pages[number] = body[position : position + length]
            position += length
        return cls(base, floor, size, at, nbytes, before, after, pages)

    def apply(self, disk: Disk, fd: int) -> None:
        """Bring the store to the new state; may be done again after any interruption.

        The superblock, with its consistency flag clear, is written when everything else is
        durable: until then HDF5 refuses the store.
        """
        end = min(self.base, self.size)
        if self.floor < end:
            zero_range(disk, fd, self.floor, end - self.floor)
        first, last = self.superblock_at, self.superblock_at + self.superblock_nbytes
        for number, page in self.pages.items():
            start, view = number * PAGE, memoryview(page)
            if start <= first < start + PAGE:
                write_fully(disk, fd, view[: first - start], start)
                write_fully(disk, fd, view[last - start :], last)
            else:
                write_fully(disk, fd, view, start)
        disk.ftruncate(fd, self.size)
        disk.fdatasync(fd)
        home = memoryview(self.pages[first // PAGE])[first % PAGE :]
        write_fully(disk, fd, home[: self.superblock_nbytes], first)
        disk.fdatasync(fd)
