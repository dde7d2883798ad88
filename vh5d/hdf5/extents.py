"""Where a dataset's stored bytes lie in its file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from h5py import h5d, h5s
from numpy.typing import NDArray

from vh5d.hdf5.ranges import NONE, Ranges, of_extents
from vh5d.hdf5.references import H5PY_ERRORS

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
    scaled = _true_positions(dataset_id, scaled, chunks)
    table = np.array(stored, np.uint64).reshape(-1, 3)
    if len(scaled) > 1:
        order = np.lexsort(scaled.T[::-1])
        scaled, table = scaled[order], table[order]
    return Extents(scaled, table[:, 0], table[:, 1], table[:, 2].astype(np.uint32))


def stored_extents(group_id: Any, path: bytes) -> Extents:
    """Return the extents of a dataset, chunked or contiguous.

    Parameters
    ----------
    group_id, path
        h5py's GroupID, and the dataset's path from there.
    """
    dataset = h5d.open(group_id, path)
    offset = dataset.get_offset()
    if offset is None:
        return chunk_extents(dataset)
    return block_extents(dataset.shape, dataset.dtype.itemsize, offset)


def chunk_offsets(dataset_id: Any) -> NDArray[np.uint64]:
    """Return the first elements of a chunked dataset's allocated chunks: (n, ndim), row-major."""
    chunks = np.array(dataset_id.get_create_plist().get_chunk(), np.uint64)
    return chunk_extents(dataset_id).scaled * chunks


def _true_positions(
    dataset_id: Any, told: NDArray[np.uint64], chunks: tuple[int, ...]
) -> NDArray[np.uint64]:
    """Correct positions that HDF5 told wrong.

    An Extensible Array, the index of datasets with one unlimited dimension, numbers chunks with
    that dimension first (`H5VM_swizzle_coords`). When HDF5 (up to 2.0 at least) iterates over it,
    it takes the numbers for row-major ones: right only if the first dimension is the unlimited one.

    Then the position told for the highest number is one where there is no chunk: were there one,
    it would have a higher number still.
    """
    limits = dataset_id.get_space().get_simple_extent_dims(True)
    unlimited = [axis for axis, limit in enumerate(limits) if limit == h5s.UNLIMITED]
    if len(unlimited) != 1 or unlimited == [0] or not len(told):
        return told
    axis = unlimited[0]
    counts = [-(-limit // size) for limit, size in zip(limits, chunks, strict=True)]
    before, after = math.prod(counts[:axis]), math.prod(counts[axis + 1 :])
    numbers = told[:, axis] * np.uint64(after)
    if after > 1:
        numbers += np.ravel_multi_index(
            tuple(told[:, axis + 1 :].T.astype(np.int64)), counts[axis + 1 :]
        ).astype(np.uint64)
    highest = told[int(np.argmax(numbers))]
    if before == 1 or not highest[axis] or _is_allocated(dataset_id, highest, chunks):
        return told
    others = np.unravel_index(
        (numbers % np.uint64(before * after)).astype(np.int64),
        [*counts[:axis], *counts[axis + 1 :]],
    )
    along = numbers // np.uint64(before * after)
    return np.stack([*others[:axis], along, *others[axis:]], axis=1).astype(np.uint64)


def _is_allocated(dataset_id: Any, scaled: NDArray[np.uint64], chunks: tuple[int, ...]) -> bool:
    try:
        dataset_id.read_direct_chunk(
            tuple(int(at) * size for at, size in zip(scaled, chunks, strict=True))
        )
    except H5PY_ERRORS:
        return False
    return True


def occupied(group_id: Any, name: bytes) -> Ranges:
    """Return where the values of a dataset lie in its file: of a chunked one, each chunk.

    Parameters
    ----------
    group_id
        h5py's GroupID.
    name
        The dataset's name in that group.
    """
    dataset = h5d.open(group_id, name)
    start = dataset.get_offset()
    if start is not None:
        return np.array([[start, start + dataset.get_storage_size()]], np.int64)
    if dataset.get_create_plist().get_layout() != h5d.CHUNKED:
        return NONE
    extents = chunk_extents(dataset)
    return of_extents(extents.offsets, extents.nbytes)


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
