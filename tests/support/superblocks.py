"""Superblocks made by hand."""

from __future__ import annotations

import struct

from vh5d.hdf5.checksum import checksum
from vh5d.hdf5.superblock import SIGNATURE

NBYTES = 48


def superblock(eof: int, *, flags: int = 0, version: int = 3) -> bytes:
    """A version 2 or 3 superblock of a file that ends at `eof`."""
    body = SIGNATURE + bytes([version, 8, 8, flags])
    body += struct.pack("<4Q", 0, 2**64 - 1, eof, 48)
    return body + checksum(body)
