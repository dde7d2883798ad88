"""The superblock: where an HDF5 file begins and ends, and whether somebody writes it.

HDF5 File Format Specification 3.0, section II.A "Disk Format: Level 0A - Format Signature and
Superblock".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from vh5d.hdf5.checksum import checksum

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAD_SIZE = 128
"""Bytes that hold any superblock: version 1 with 16-byte offsets, the longest, takes 92."""

_FLAGS_AT = 11
_WRITING = 0x01
_SWMR = 0x04
# The first offset at which a userblock may end; each further candidate is twice the one before.
_FIRST_USERBLOCK = 512


@dataclass(frozen=True)
class Superblock:
    """A superblock as it lies in a file.

    Attributes
    ----------
    offset
        Where it lies, in bytes: the size of the userblock, 0 if there is none.
    version
        0 to 3.
    eof
        Where the HDF5 file ends, as an absolute offset in the file, userblock included. What lies
        behind is nobody's.
    status_flags
        The file consistency flags of version 3; None before, where HDF5 ignores them. One whose
        writing was torn, so that it disagrees with the checksum, counts as set.
    raw
        Its bytes.
    intact
        Whether its checksum holds, the flags aside (versions 0 and 1 have none).
    """

    offset: int
    version: int
    eof: int
    status_flags: int | None
    raw: bytes
    intact: bool

    @property
    def writing(self) -> bool:
        """Whether the flags say that the file is open for writing, or was when its writer died."""
        return bool((self.status_flags or 0) & _WRITING)

    @property
    def swmr(self) -> bool:
        """Whether the flags say that the writer lets others read (SWMR)."""
        return bool((self.status_flags or 0) & _SWMR)

    def with_status_flags(self, flags: int) -> bytes:
        """Bytes of this superblock with other consistency flags, its checksum renewed.

        Before version 3 there are no flags: the bytes as they are.
        """
        if self.status_flags is None:
            return self.raw
        body = bytearray(self.raw[:-4])
        body[_FLAGS_AT] = flags
        return bytes(body) + _sign(self.raw, flags)


def parse_superblock(head: bytes) -> Superblock | None:
    """The superblock in the first bytes of a file, or None if they hold none.

    Parameters
    ----------
    head
        From the start of the file. A superblock behind a userblock is found if the bytes reach
        that far; see `find_superblock` for files with large userblocks.
    """
    return find_superblock(lambda offset, nbytes: head[offset : offset + nbytes], len(head))


def find_superblock(pread: Callable[[int, int], bytes], size: int) -> Superblock | None:
    """The superblock of a file, or None if it is not an HDF5 file of a known version.

    Parameters
    ----------
    pread
        Reads so many bytes at an offset, fewer only at the end of the file.
    size
        Size of the file in bytes.
    """
    offset = 0
    while offset < size:
        block = pread(offset, min(HEAD_SIZE, size - offset))
        if block.startswith(SIGNATURE):
            return _parse(block, offset)
        offset = offset * 2 or _FIRST_USERBLOCK
    return None


def _parse(block: bytes, offset: int) -> Superblock | None:
    try:
        version = block[8]
        if version in {0, 1}:
            return _parse_early(block, offset, version)
        if version in {2, 3}:
            return _parse_late(block, offset, version)
    except (IndexError, struct.error, KeyError):
        return None
    return None


def _parse_early(block: bytes, offset: int, version: int) -> Superblock:
    width = block[13]
    at = 24 if version == 0 else 28
    base, _free_space, eof, _driver = _addresses(block, at, width, 4)
    # The root group's symbol table entry: link name offset, header address, cache type, reserved,
    # scratch-pad.
    length = at + 4 * width + 2 * width + 4 + 4 + 16
    return Superblock(offset, version, eof + offset - base, None, block[:length], intact=True)


def _parse_late(block: bytes, offset: int, version: int) -> Superblock:
    width = block[9]
    base, _extension, eof, _root = _addresses(block, 12, width, 4)
    length = 12 + 4 * width + 4
    raw = block[:length]
    flags = _signed_flags(raw) if len(raw) == length else None
    intact = flags is not None
    # The end is stored with the base address added to it; a file moved behind a userblock keeps
    # the base address it was written with, and HDF5 allows for the difference.
    status = raw[_FLAGS_AT] | (flags or 0) if version == 3 else None
    return Superblock(offset, version, eof + offset - base, status, raw, intact)


def _signed_flags(raw: bytes) -> int | None:
    """The flags that the checksum holds with: others than there are if a write of them was torn."""
    for flags in (raw[_FLAGS_AT], 0, _WRITING, _WRITING | _SWMR):
        if _sign(raw, flags) == raw[-4:]:
            return flags
    # Torn within the checksum: of two writes that differ in the flags only.
    mixed = zip(raw[-4:], _sign(raw, 0), _sign(raw, _WRITING), strict=True)
    return _WRITING if all(found in pair for found, *pair in mixed) else None


def _sign(raw: bytes, flags: int) -> bytes:
    body = bytearray(raw[:-4])
    body[_FLAGS_AT] = flags
    return checksum(body)


def _addresses(block: bytes, at: int, width: int, count: int) -> tuple[int, ...]:
    kind = {2: "H", 4: "I", 8: "Q"}[width]
    return struct.unpack_from(f"<{count}{kind}", block, at)
