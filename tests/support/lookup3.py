"""Bob Jenkins' lookup3 `hashlittle`, one word at a time, as a second opinion on checksums."""

from __future__ import annotations

from functools import lru_cache

_ALL = 0xFFFFFFFF


def _rot(x: int, k: int) -> int:
    return ((x << k) | (x >> (32 - k))) & _ALL


@lru_cache(maxsize=4096)
def hashlittle(data: bytes) -> int:
    """`hashlittle(data, initval=0)`."""
    a = b = c = (0xDEADBEEF + len(data)) & _ALL
    if not data:
        return c
    while len(data) > 12:
        a, b, c = ((x + y) & _ALL for x, y in zip((a, b, c), _words(data), strict=True))
        for k in (4, 6, 8, 16, 19, 4):
            # Each step of the mix is the one before with the registers turned.
            a = (a - c) & _ALL ^ _rot(c, k)
            c = (c + b) & _ALL
            a, b, c = b, c, a
        data = data[12:]
    a, b, c = ((x + y) & _ALL for x, y in zip((a, b, c), _words(data), strict=True))
    for k in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rot(b, k)) & _ALL
        a, b, c = b, c, a
    # Seven steps turn the registers by one more than two rounds.
    return b


def _words(data: bytes) -> tuple[int, int, int]:
    block = data[:12].ljust(12, b"\0")
    return tuple(int.from_bytes(block[i : i + 4], "little") for i in (0, 4, 8))
