"""Values in blocks: cut into the chunks that they fill, or spread over those that are selected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vh5d.versioned.array_ledger import Chunk, Ledger, runs
from vh5d.versioned.array_views import ArrayViews
from vh5d.versioned.indexing import parse, split_names


def cut(
    array: ArrayViews,
    ledger: Ledger,
    chunks: Sequence[Chunk],
    limit: int,
    fill: Callable[[], Any],
) -> Iterator[tuple[Chunk, NDArray[Any]]]:
    """Yield chunks of an array: position and elements, of the shape of a chunk.

    Parameters
    ----------
    array
        What has the elements.
    ledger
        Has its shape and chunks.
    chunks
        Positions in its chunk grid, sorted.
    limit
        Chunks to read at once.
    fill
        Gives what stands beyond the edge of the array.
    """
    for box in runs(chunks, ledger.grid(), limit):
        region = ledger.region(box)
        values = array[region]
        for chunk in product(*box):
            inside = tuple(
                slice(
                    number * size - whole.start,
                    min((number + 1) * size, whole.stop) - whole.start,
                )
                for number, size, whole in zip(chunk, ledger.chunks, region, strict=True)
            )
            yield chunk, _padded(values[inside], ledger.chunks, fill)


def _padded(values: NDArray[Any], shape: tuple[int, ...], fill: Callable[[], Any]) -> NDArray[Any]:
    ndim = len(shape)
    if values.shape[:ndim] == shape:
        return np.ascontiguousarray(values)
    whole = np.empty(shape + values.shape[ndim:], values.dtype)
    whole[...] = fill()
    whole[tuple(slice(0, n) for n in values.shape[:ndim])] = values
    return whole


def spread(args: tuple[Any, ...], value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return a value in the shape of a selection of blocks.

    h5py, up to 3.16, broadcasts over blocks as if they were one element wide.

    Parameters
    ----------
    args
        The index.
    value
        What is assigned.
    shape, dtype
        Of the dataset.
    """
    selection = parse(split_names(args)[1], shape)
    structured = dtype.kind in "OV"
    if selection is None or (structured and isinstance(value, np.ndarray)):
        return value
    selected = tuple(len(axis) for axis in selection.axes if not axis.scalar)
    try:
        values = np.asarray(value, dtype=dtype.base if structured else None)
        return np.broadcast_to(values, selected)
    except (TypeError, ValueError):
        return value  # h5py says what is wrong with it
