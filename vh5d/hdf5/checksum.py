"""HDF5's metadata checksum: Bob Jenkins' lookup3, of many blocks at once.

HDF5 File Format Specification 3.0 names it in every block that has a checksum; HDF5 calls
`hashlittle` with an initial value of zero.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_MASK = 0xFFFFFFFF
_SEED = 0xDEADBEEF
_BLOCK = 12  # bytes a round
# (register, subtracted register, register that is added to the latter, rotation)
_MIX = (
    (0, 2, 1, 4), (1, 0, 2, 6), (2, 1, 0, 8), (0, 2, 1, 16), (1, 0, 2, 19), (2, 1, 0, 4),
)  # fmt: skip
_FINAL = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))
# Below this many rows plain integers are faster than one array operation a step.
_FEW_ROWS = 16
_ROWS_AT_ONCE = 1 << 14


def lookup3(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Checksums of blocks of one length.

    Parameters
    ----------
    rows
        (n, nbytes) array, one block a row, without the checksum that ends it.

    Returns
    -------
    (n,) array of checksums.
    """
    n, nbytes = rows.shape
    if n < _FEW_ROWS:
        return np.array([_lookup3_one(row.tobytes()) for row in rows], np.uint32)
    if nbytes == 0:
        return np.full(n, _SEED, np.uint32)
    parts = [_lookup3_many(rows[i : i + _ROWS_AT_ONCE]) for i in range(0, n, _ROWS_AT_ONCE)]
    return np.concatenate(parts)


def checksum(data: bytes | bytearray | memoryview) -> bytes:
    """Checksum of one block as its four bytes in the file (little-endian)."""
    return struct.pack("<I", _lookup3_one(bytes(data)))


def _lookup3_one(data: bytes) -> int:
    a = b = c = (_SEED + len(data)) & _MASK
    if not data:
        return c
    rounds = -(-len(data) // _BLOCK)
    words = struct.unpack(f"<{3 * rounds}I", data.ljust(rounds * _BLOCK, b"\0"))
    triples: Iterator[int] = iter(words[:-3])
    for x, y, z in zip(triples, triples, triples, strict=True):
        a, b, c = a + x, b + y, (c + z) & _MASK
        a = (a - c ^ (c << 4 | c >> 28)) & _MASK
        c += b
        b = (b - a ^ (a << 6 | a >> 26)) & _MASK
        a += c
        c = (c - b ^ (b << 8 | b >> 24)) & _MASK
        b += a
        a = (a - c ^ (c << 16 | c >> 16)) & _MASK
        c += b
        b = (b - a ^ (a << 19 | a >> 13)) & _MASK
        a += c
        c = (c - b ^ (b << 4 | b >> 28)) & _MASK
        b += a
    state: list[int] = [(a + words[-3]) & _MASK, (b + words[-2]) & _MASK, (c + words[-1]) & _MASK]
    for p, q, k in _FINAL:
        state[p] = ((state[p] ^ state[q]) - (state[q] << k | state[q] >> 32 - k)) & _MASK
    return state[2]


def _lookup3_many(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    n, nbytes = rows.shape
    rounds = -(-nbytes // _BLOCK)
    padded = np.zeros((n, rounds * _BLOCK), np.uint8)
    padded[:, :nbytes] = rows
    words = np.ascontiguousarray(padded.view("<u4").T)
    state = [np.full(n, (_SEED + nbytes) & _MASK, np.uint32) for _ in range(3)]
    high, low = np.empty(n, np.uint32), np.empty(n, np.uint32)

    def rotated(x: NDArray[np.uint32], k: int) -> NDArray[np.uint32]:
        np.left_shift(x, k, out=high)
        np.right_shift(x, 32 - k, out=low)
        return np.bitwise_or(high, low, out=high)

    for i in range(rounds):
        for j in range(3):
            state[j] += words[3 * i + j]
        if i == rounds - 1:
            break
        for p, q, r, k in _MIX:
            state[p] -= state[q]
            state[p] ^= rotated(state[q], k)
            state[q] += state[r]
    for p, q, k in _FINAL:
        state[p] ^= state[q]
        state[p] -= rotated(state[q], k)
    return state[2]
