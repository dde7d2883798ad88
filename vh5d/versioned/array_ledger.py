"""Which chunks of a dataset are held, which were changed, and what is still the base's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vh5d.versioned.indexing import Selection

Chunk = tuple[int, ...]
Box = tuple[range, ...]


class Ledger:
    """Bookkeeping of chunks that are edited over a base.

    An element has the base's value if it is in the *kept* box, the intersection of every shape
    since the base, and its chunk is not held; otherwise it has what scratch space has, which is
    the fill value where nothing was written.

    Parameters
    ----------
    shape
        Of the dataset.
    chunks
        Shape of a chunk.
    base_shape
        Of what lies below; zeros if there is nothing.
    """

    def __init__(
        self, shape: tuple[int, ...], chunks: tuple[int, ...], base_shape: tuple[int, ...]
    ) -> None:
        self.shape = shape
        self.chunks = chunks
        self.base_shape = base_shape
        self.kept = tuple(map(min, shape, base_shape))
        self.held: set[Chunk] = set()
        self.changed: set[Chunk] = set()

    @property
    def complete(self) -> bool:
        """Whether nothing of the base is left to be seen."""
        return 0 in self.kept

    @property
    def pristine_extent(self) -> bool:
        """Whether the base has every element, at its place, that was not changed."""
        return self.kept == self.shape == self.base_shape

    def resize(self, shape: tuple[int, ...]) -> None:
        """Cut off or add elements; those cut off do not come back."""
        shrunk = any(new < old for new, old in zip(shape, self.shape, strict=True))
        self.shape = shape
        self.kept = tuple(map(min, shape, self.kept))
        if shrunk:
            self.held = {chunk for chunk in self.held if self._exists(chunk)}
            self.changed = {chunk for chunk in self.changed if self._exists(chunk)}

    def forget_base(self) -> None:
        """Nothing of the base is to be seen any more."""
        self.kept = (0,) * len(self.shape)

    def touched(self, selection: Selection) -> list[Sequence[int]]:
        """Return, for each axis, the chunks that the selection touches."""
        return [axis.chunks(size) for axis, size in zip(selection.axes, self.chunks, strict=True)]

    def kept_chunks(self, touched: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """Return those of the touched chunks that have elements in the kept box."""
        return [
            [number for number in numbers if number * size < kept]
            if len(numbers) and numbers[-1] * size >= kept
            else numbers
            for numbers, size, kept in zip(touched, self.chunks, self.kept, strict=True)
        ]

    def held_among(self, touched: Sequence[Sequence[int]]) -> list[Chunk]:
        """Return those of the chunks that are held."""
        if count(touched) <= len(self.held):
            return [chunk for chunk in product(*touched) if chunk in self.held]
        lookup = [
            numbers if isinstance(numbers, range) else frozenset(numbers) for numbers in touched
        ]
        return sorted(
            chunk
            for chunk in self.held
            if all(number in numbers for number, numbers in zip(chunk, lookup, strict=True))
        )

    def masked(self, mask: NDArray[np.bool_]) -> list[list[Sequence[int]]]:
        """Return products of the chunks in which a mask of all elements selects some."""
        scaled = [where // size for where, size in zip(mask.nonzero(), self.chunks, strict=True)]
        extent = tuple(len(numbers) for numbers in self.grid())
        keys = np.unique(np.ravel_multi_index(tuple(scaled), extent))
        numbers = [np.unique(along).tolist() for along in scaled]
        if count(numbers) == len(keys):
            return [numbers]
        positions = np.stack(np.unravel_index(keys, extent), axis=1).tolist()
        return [[(number,) for number in position] for position in positions]

    def note(self, touched: Sequence[Sequence[int]]) -> None:
        """Note chunks as changed, and held."""
        self.changed.update(product(*touched))
        if not self.complete:
            self.held.update(product(*touched))

    def uncovered(self, selection: Selection) -> Iterator[list[Sequence[int]]]:
        """Yield products of chunks that the selection touches, but not the whole of."""
        touched = self.touched(selection)
        partial = [
            axis.partial(size, length)
            for axis, size, length in zip(selection.axes, self.chunks, self.shape, strict=True)
        ]
        for i, numbers in enumerate(partial):
            if numbers:
                whole = [_without(touched[j], partial[j]) for j in range(i)]
                yield [*whole, numbers, *touched[i + 1 :]]

    def missing(self, touched: Sequence[Sequence[int]], limit: int) -> Iterator[Box]:
        """Yield boxes of chunks, of at most `limit` chunks, that are in the base and not held."""
        for box in product(*(_runs(numbers) for numbers in self.kept_chunks(touched))):
            yield from self._missing(box, limit)

    def _missing(self, box: Box, limit: int) -> Iterator[Box]:
        n = count(box)
        held = sum(chunk in self.held for chunk in product(*box)) if self.held else 0
        if held == n:
            return
        if not held and (n <= limit or n == 1):
            yield box
            return
        axis = max(range(len(box)), key=lambda i: len(box[i]))
        middle = len(box[axis]) // 2
        for half in (box[axis][:middle], box[axis][middle:]):
            yield from self._missing((*box[:axis], half, *box[axis + 1 :]), limit)

    def kept_region(self, box: Box) -> tuple[slice, ...]:
        """Return the elements of a box of chunks that are in the kept box."""
        return _region(box, self.chunks, self.kept)

    def region(self, box: Box) -> tuple[slice, ...]:
        """Return the elements of a box of chunks."""
        return _region(box, self.chunks, self.shape)

    def grid(self) -> Box:
        """Return all chunks."""
        return grid(self.shape, self.chunks)

    def cut(self) -> Iterator[Chunk]:
        """Yield chunks that were cut by making the dataset smaller, in no order, some twice."""
        kept = grid(self.kept, self.chunks)
        for axis, size in enumerate(self.chunks):
            edge = self.kept[axis]
            last = edge // size
            if edge % size and edge < min((last + 1) * size, self.base_shape[axis]):
                yield from product(*kept[:axis], (last,), *kept[axis + 1 :])

    def gone(self) -> Iterator[Box]:
        """Yield boxes of the base's chunks of which nothing is kept."""
        kept, base = grid(self.kept, self.chunks), grid(self.base_shape, self.chunks)
        for axis in range(len(kept)):
            beyond = range(len(kept[axis]), len(base[axis]))
            if beyond:
                yield (*kept[:axis], beyond, *base[axis + 1 :])

    def keeps(self, scaled: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which of the base's chunks are as they were.

        Parameters
        ----------
        scaled
            (n, ndim) positions in the chunk grid.

        Returns
        -------
        (n,) bool.
        """
        low = scaled.astype(np.int64) * np.asarray(self.chunks)
        kept = np.asarray(self.kept)
        high = np.minimum(low + np.asarray(self.chunks), np.asarray(self.base_shape))
        same: NDArray[np.bool_] = (high <= kept).all(axis=1) & (low < kept).all(axis=1)
        if self.changed:
            extent = tuple(len(numbers) for numbers in grid(self.base_shape, self.chunks))
            changed = np.array(list(self.changed), np.int64)
            changed = changed[(changed < np.asarray(extent)).all(axis=1)]
            same &= ~np.isin(
                np.ravel_multi_index(tuple(scaled.astype(np.int64).T), extent),
                np.ravel_multi_index(tuple(changed.T), extent),
            )
        return same

    def _exists(self, chunk: Chunk) -> bool:
        return all(
            number * size < length
            for number, size, length in zip(chunk, self.chunks, self.shape, strict=True)
        )


def count(box: Sequence[Sequence[int]]) -> int:
    """Return the number of chunks in a product."""
    n = 1
    for numbers in box:
        n *= len(numbers)
    return n


def runs(chunks: Sequence[Chunk], shape: Box, limit: int) -> Iterator[Box]:
    """Yield boxes that hold these chunks, neighbours together.

    Parameters
    ----------
    chunks
        Sorted.
    shape
        All chunks there are.
    limit
        Largest number of chunks in a box.
    """
    # The axis along which neighbours follow each other when sorted.
    axis = max((i for i, numbers in enumerate(shape) if len(numbers) > 1), default=0)
    start, n = 0, len(chunks)
    while start < n:
        first = chunks[start]
        stop = start + 1
        while (
            stop < n
            and stop - start < limit
            and chunks[stop][:axis] == first[:axis]
            and chunks[stop][axis] == first[axis] + stop - start
        ):
            stop += 1
        yield tuple(
            range(number, number + (stop - start if i == axis else 1))
            for i, number in enumerate(first)
        )
        start = stop


def grid(shape: Sequence[int], chunks: Sequence[int]) -> Box:
    """Return all chunks of a dataset."""
    return tuple(range(-(-length // size)) for length, size in zip(shape, chunks, strict=True))


def _region(box: Box, chunks: Sequence[int], end: Sequence[int]) -> tuple[slice, ...]:
    return tuple(
        slice(span[0] * size, min((span[-1] + 1) * size, stop))
        for span, size, stop in zip(box, chunks, end, strict=True)
    )


def _without(numbers: Sequence[int], some: Sequence[int]) -> Sequence[int]:
    if not some:
        return numbers
    left_out = frozenset(some)
    return [number for number in numbers if number not in left_out]


def _runs(numbers: Sequence[int]) -> list[range]:
    """Return increasing numbers as ranges without gaps."""
    if isinstance(numbers, range):
        return [numbers] if len(numbers) else []
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs
