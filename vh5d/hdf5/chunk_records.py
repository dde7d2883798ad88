"""What a chunk index says of each chunk: where it lies in the grid and in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ChunkRecords:
    """Chunks of one dataset, in row-major order of their place in the chunk grid.

    Attributes
    ----------
    scaled
        (n, ndim) place in the chunk grid: the chunk's first element divided by the chunk shape.
    addresses
        (n,) file addresses of the chunks' stored bytes, relative to the end of the userblock.
    sizes
        (n,) stored bytes. Without filters they are the chunk's own size and are not stored.
    masks
        (n,) filter masks: bit i set, filter i was left out.
    """

    scaled: NDArray[np.uint64]
    addresses: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    masks: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.addresses)

    @classmethod
    def empty(cls, ndim: int) -> ChunkRecords:
        """No chunks, of rank `ndim`."""
        none = np.empty(0, np.uint64)
        return cls(np.empty((0, ndim), np.uint64), none, none, np.empty(0, np.uint32))

    @classmethod
    def from_unsorted(
        cls,
        scaled: NDArray[Any],
        addresses: NDArray[Any],
        sizes: NDArray[Any],
        masks: NDArray[Any],
    ) -> ChunkRecords:
        """Chunks in any order, put in row-major order."""
        scaled = np.asarray(scaled, np.uint64)
        records = cls(
            scaled,
            np.asarray(addresses, np.uint64),
            np.asarray(sizes, np.uint64),
            np.asarray(masks, np.uint32),
        )
        if is_ascending(scaled):
            return records
        return records.take(np.lexsort(scaled.T[::-1]))

    def take(self, which: NDArray[Any]) -> ChunkRecords:
        """Some of the chunks, by ascending positions or by mask."""
        return ChunkRecords(
            self.scaled[which], self.addresses[which], self.sizes[which], self.masks[which]
        )


def is_ascending(scaled: NDArray[np.uint64]) -> bool:
    """Whether places of shape (n, ndim) are in row-major order, each once."""
    earlier, later = scaled[:-1], scaled[1:]
    decided = np.zeros(len(earlier), bool)
    for axis in range(scaled.shape[1]):
        if bool(np.any(~decided & (earlier[:, axis] > later[:, axis]))):
            return False
        decided |= earlier[:, axis] < later[:, axis]
    return bool(decided.all())


def grid_keys(scaled: NDArray[np.uint64]) -> NDArray[np.bytes_]:
    """(n,) byte strings that sort as the places of shape (n, ndim) do in row-major order."""
    n, ndim = scaled.shape
    return np.ascontiguousarray(scaled, ">u8").view(f"S{8 * ndim}").reshape(n)
