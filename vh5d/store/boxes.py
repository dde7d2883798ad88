"""Places in a chunk grid, gathered into boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, order=True)
class Box:
    """A box of elements: from `start` up to, not including, `stop`."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index."""
        return tuple(map(slice, self.start, self.stop))

    @property
    def size(self) -> int:
        """How many elements it has."""
        size = 1
        for a, z in zip(self.start, self.stop, strict=True):
            size *= max(0, z - a)
        return size

    def clipped(self, shape: Sequence[int]) -> Box:
        """Return what of the box lies within a shape."""
        stop = tuple(map(min, self.stop, shape))
        return Box(tuple(map(min, self.start, stop)), stop)

    def parts(self, most: int) -> Iterator[Box]:
        """Cut the box into parts of at most so many elements, in row-major order."""
        if self.size <= most:
            yield self
            return
        axis = next(
            i for i, (a, z) in enumerate(zip(self.start, self.stop, strict=True)) if z - a > 1
        )
        row = self.size // (self.stop[axis] - self.start[axis])
        step = max(1, most // row)
        for first in range(self.start[axis], self.stop[axis], step):
            last = min(first + step, self.stop[axis])
            start = (*self.start[:axis], first, *self.start[axis + 1 :])
            yield from Box(start, (*self.stop[:axis], last, *self.stop[axis + 1 :])).parts(most)


def merge(scaled: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gather places of a chunk grid into boxes that cover them, each place once.

    Runs along the last axis become boxes; equal neighbours along the axis before become one, and
    so on.

    Parameters
    ----------
    scaled
        (n, ndim) places, each once.

    Returns
    -------
    Two arrays (m, ndim): where each box starts and stops, in the grid, in row-major order.
    """
    low = scaled.astype(np.int64)
    high = low + 1
    for axis in range(low.shape[1] - 1, -1, -1):
        if not len(low):
            break
        others = [i for i in range(low.shape[1]) if i != axis]
        # Rows that agree in all other axes come together, ordered along this one.
        keys = [low[:, axis], *(end[:, i] for i in reversed(others) for end in (high, low))]
        order = np.lexsort(keys)
        low, high = low[order], high[order]
        begins = np.ones(len(low), bool)
        begins[1:] = low[1:, axis] != high[:-1, axis]
        for i in others:
            begins[1:] |= (low[1:, i] != low[:-1, i]) | (high[1:, i] != high[:-1, i])
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(low)) - 1
        end = high[last, axis]
        low, high = low[first], high[first]
        high[:, axis] = end
    order = np.lexsort(low.T[::-1]) if len(low) else np.empty(0, np.intp)
    return low[order], high[order]


def element_boxes(
    scaled: NDArray[np.uint64], chunks: Sequence[int], shape: Sequence[int]
) -> list[Box]:
    """Return the elements that chunks hold, as boxes.

    Parameters
    ----------
    scaled
        (n, ndim) the chunks' places in the grid.
    chunks
        Chunk shape.
    shape
        The dataset's; what lies outside is left out.
    """
    low, high = merge(scaled)
    step = np.array(chunks, np.int64)
    boxes = (
        Box(tuple(start), tuple(stop)).clipped(shape)
        for start, stop in zip((low * step).tolist(), (high * step).tolist(), strict=True)
    )
    return [box for box in boxes if box.size]
