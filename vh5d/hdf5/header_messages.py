"""Version-2 object headers taken apart into their messages, and put together.

HDF5 File Format Specification 3.0, IV.A.1.b: `OHDR`, continued in `OCHK` blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.block_image import STAGED
from vh5d.hdf5.checksum import checksum

NIL, DATASPACE, DATATYPE, FILL_VALUE, LAYOUT, FILTERS = 0x00, 0x01, 0x03, 0x05, 0x08, 0x0B
CONTINUATION, REFERENCE_COUNT = 0x10, 0x16

_SIZE_WIDTH, _TRACK_ORDER, _PHASE_CHANGE, _TIMES = 0x03, 0x04, 0x10, 0x20
_FOUR_BYTE_SIZE = 2
_PREFIX = 6
_MOST_BYTES = 0xFFFF  # of a message: its size has two bytes


@dataclass(frozen=True)
class Message:
    """One header message: its type, flags and content; its creation order where that is tracked."""

    kind: int
    flags: int
    body: bytes
    order: int = 0


@dataclass(frozen=True)
class ObjectHeader:
    """An object header: flags, what the flags say is there (times, phase change), messages."""

    flags: int
    extra: bytes
    messages: tuple[Message, ...]

    def find(self, kind: int) -> Message | None:
        """The first message of a type."""
        return next((m for m in self.messages if m.kind == kind), None)


def parse_header(
    read: Callable[[int, int], bytes], address: int, *, until: int | None = None
) -> ObjectHeader:
    """The object header at an address, its continuation blocks followed.

    Parameters
    ----------
    read
        `read(address, nbytes)`.
    address
        Where it begins.
    until
        Type of a message: no block after the one that holds it is read.

    Raises
    ------
    StoreDamagedError
        It is no version-2 header, or a checksum is wrong.
    """
    flags, extra, start, length = _measure(read, address)
    blocks = [(address, length, start)]
    messages: list[Message] = []
    for at, nbytes, first in blocks:  # grows while we read
        block = _checked(read, at, nbytes)
        if at != address and block[:4] != b"OCHK":
            raise StoreDamagedError(f"no continuation of an object header at {at}")
        for message in _split(block[first:-4], tracked=bool(flags & _TRACK_ORDER)):
            if message.kind == CONTINUATION:
                blocks.append((*struct.unpack("<QQ", message.body[:16]), 4))
            elif message.kind != NIL:
                messages.append(message)
        if any(message.kind == until for message in messages):
            break
        if len(blocks) > _MOST_BYTES:
            raise StoreDamagedError(f"object header at {address} never ends")
    return ObjectHeader(flags, extra, tuple(messages))


def header_nbytes(read: Callable[[int, int], bytes], address: int) -> int:
    """Bytes of an object header, those of its continuation blocks not counted.

    Raises
    ------
    StoreDamagedError
        It is no version-2 header.
    """
    return _measure(read, address)[-1]


def _measure(read: Callable[[int, int], bytes], address: int) -> tuple[int, bytes, int, int]:
    """Flags, what they say is there, where the messages start, and where the block stops."""
    prefix = read(address, _PREFIX)
    if prefix[:5] != b"OHDR\x02":
        raise StoreDamagedError(f"no version-2 object header at {address}")
    flags = prefix[5]
    extra = (16 if flags & _TIMES else 0) + (4 if flags & _PHASE_CHANGE else 0)
    width = 1 << (flags & _SIZE_WIDTH)
    start = _PREFIX + extra + width
    fixed = read(address, start)
    length = start + int.from_bytes(fixed[start - width :], "little") + 4
    return flags, fixed[_PREFIX : _PREFIX + extra], start, length


def _checked(read: Callable[[int, int], bytes], address: int, nbytes: int) -> bytes:
    block = read(address, nbytes)
    if len(block) != nbytes:
        raise StoreDamagedError(f"the file ends within the object header at {address}")
    if address < STAGED and checksum(block[:-4]) != block[-4:]:
        raise StoreDamagedError(f"object header at {address}: wrong checksum")
    return block


def _split(area: bytes, *, tracked: bool) -> list[Message]:
    """Messages of one block; a gap too small for a message may end it."""
    head = 6 if tracked else 4
    messages, position = [], 0
    while position + head <= len(area):
        kind, size, flags = struct.unpack_from("<BHB", area, position)
        order = int.from_bytes(area[position + 4 : position + head], "little")
        position += head
        if position + size > len(area):
            raise StoreDamagedError("a header message is longer than its header")
        messages.append(Message(kind, flags, area[position : position + size], order))
        position += size
    return messages


def compose_header(
    flags: int, extra: bytes, messages: Sequence[Message]
) -> tuple[bytes, list[int]]:
    """An object header in one block.

    Returns
    -------
    Its bytes, the last four of them room for the checksum, and where in them each message begins.
    """
    block = bytearray(b"OHDR\x02")
    block.append((flags & ~_SIZE_WIDTH) | _FOUR_BYTE_SIZE)
    block += extra + bytes(4)
    start, places = len(block), []
    for message in messages:
        if len(message.body) > _MOST_BYTES:
            raise ValueError(f"a header message of {len(message.body)} bytes is too long")
        block += struct.pack("<BHB", message.kind, len(message.body), message.flags)
        block += message.order.to_bytes(2, "little") if flags & _TRACK_ORDER else b""
        places.append(len(block))
        block += message.body
    struct.pack_into("<I", block, start - 4, len(block) - start)
    return bytes(block) + bytes(4), places
