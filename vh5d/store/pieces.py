"""A file cut into pieces, each of which is kept in a pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import blake3
import numpy as np
from numpy.typing import NDArray

from vh5d.store.encoding import Encoding
from vh5d.store.pools import HASH_NBYTES, Hashes

BATCH_NBYTES = 4 << 20


@dataclass(frozen=True)
class Pieces:
    """Pieces that cover a file, in order of their offset.

    Attributes
    ----------
    offsets, nbytes
        (m,) uint64, where each lies in the file.
    padded
        (m,) uint64, its length once zeros fill the edge block of a contiguous dataset.
    pools
        (m,) int64, index into `encodings`.
    encodings
        How the pieces are to be stored.
    """

    offsets: NDArray[np.uint64]
    nbytes: NDArray[np.uint64]
    padded: NDArray[np.uint64]
    pools: NDArray[np.int64]
    encodings: tuple[Encoding, ...]

    def __len__(self) -> int:
        return len(self.offsets)

    def take(self, which: NDArray[np.intp]) -> Pieces:
        """Return some of the pieces, in the order of their offset."""
        return Pieces(
            self.offsets[which],
            self.nbytes[which],
            self.padded[which],
            self.pools[which],
            self.encodings,
        )

    def batches(self) -> Iterator[slice]:
        """Group the pieces into runs of about `BATCH_NBYTES`, gaps between them included."""
        if not len(self):
            return
        ends = np.cumsum(self.nbytes)
        start = 0
        while start < len(self):
            already = int(ends[start - 1]) if start else 0
            stop = int(np.searchsorted(ends, already + BATCH_NBYTES, side="right"))
            reach = self.offsets[start] + np.uint64(BATCH_NBYTES)
            stop = min(stop, int(np.searchsorted(self.offsets, reach)))
            stop = max(stop, start + 1)
            yield slice(start, stop)
            start = stop


def digest(size: int, pieces: Pieces, hashes: Hashes) -> str:
    """Return the digest of a whole file from those of its pieces, as hexadecimal text.

    BLAKE3-256 over the file's size and each piece's offset, length and hash (little-endian).
    """
    leaves = np.empty((len(pieces), 2 + HASH_NBYTES // 8), "<u8")
    leaves[:, 0] = pieces.offsets
    leaves[:, 1] = pieces.nbytes
    leaves[:, 2:] = np.ascontiguousarray(hashes).view("<u8")
    root = blake3.blake3(size.to_bytes(8, "little"))
    root.update(leaves.tobytes())
    return root.hexdigest()
