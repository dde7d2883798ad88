"""Where a dataset's stored bytes lie in its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_NBYTES = 1 << 20  # a contiguous dataset is cut into blocks of about this size


@dataclass(frozen=True)
class Extents:
    """The stored chunks of a dataset, in row-major order of their position.

    Attributes
    ----------
    scaled
        (n, ndim) uint64, the chunk's position in the grid of chunks.
    offsets
        (n,) uint64, file offset of its first byte.
    nbytes
        (n,) uint64, how many bytes lie there.
    masks
        (n,) uint32, the filter mask it was stored with.
    """

    scaled: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    nbytes: NDArray[np.uint64]
    masks: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.offsets)


def chunk_extents(dataset_id: Any) -> Extents:
    """Return the extents of a chunked dataset's allocated chunks.

    Parameters
    ----------
    dataset_id
        h5py's DatasetID.
    """
    chunks = dataset_id.get_create_plist().get_chunk()
    positions: list[tuple[int, ...]] = []
    stored: list[tuple[int, int, int]] = []

    def visit(chunk: Any) -> None:
        positions.append(chunk.chunk_offset)
        stored.append((chunk.byte_offset, chunk.size, chunk.filter_mask))

    dataset_id.chunk_iter(visit)
    scaled = np.array(positions, np.uint64).reshape(-1, len(chunks))
    scaled //= np.array(chunks, np.uint64)
    table = np.array(stored, np.uint64).reshape(-1, 3)
    if len(scaled) > 1:
        order = np.lexsort(scaled.T[::-1])
        scaled, table = scaled[order], table[order]
    return Extents(scaled, table[:, 0], table[:, 1], table[:, 2].astype(np.uint32))


def block_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return a chunk shape that cuts a contiguous dataset into runs of about `BLOCK_NBYTES`.

    Each block is one run of the dataset's bytes: trailing dimensions are whole, leading ones 1.
    """
    run = itemsize  # bytes of one step along the dimension looked at
    block = list(shape)
    for axis in range(len(shape) - 1, -1, -1):
        if run * shape[axis] > BLOCK_NBYTES:
            block[axis] = max(1, BLOCK_NBYTES // run)
            block[:axis] = [1] * axis
            break
        run *= shape[axis]
    return tuple(block)


def block_extents(shape: tuple[int, ...], itemsize: int, offset: int) -> Extents:
    """Return the extents of a contiguous dataset's blocks (`block_shape`).

    Parameters
    ----------
    shape
        The dataset's shape, no extent zero.
    itemsize
        Bytes an element.
    offset
        File offset of the first element.
    """
    block = block_shape(shape, itemsize)
    counts = tuple(-(-extent // step) for extent, step in zip(shape, block, strict=True))
    scaled = np.indices(counts, np.uint64).reshape(len(shape), -1).T
    strides = np.array(
        [int(np.prod(shape[axis + 1 :], dtype=object)) * itemsize for axis in range(len(shape))],
        np.uint64,
    )
    steps = np.array(block, np.uint64)
    offsets = np.uint64(offset) + (scaled * steps * strides).sum(axis=1, dtype=np.uint64)
    cut = max((axis for axis, count in enumerate(counts) if count > 1), default=0)
    rows = np.minimum(np.uint64(shape[cut]) - scaled[:, cut] * steps[cut], steps[cut])
    nbytes = rows * strides[cut]
    return Extents(scaled, offsets, nbytes, np.zeros(len(scaled), np.uint32))
