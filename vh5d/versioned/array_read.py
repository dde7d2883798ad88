"""Reading where some elements are the base's, some changed, and some were never written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.versioned.array_ledger import Ledger, count, runs
from vh5d.versioned.array_sources import Source, read_dataset
from vh5d.versioned.indexing import Selection

SLAB_NBYTES = 16 * 2**20  # read at once to pick masked elements from


def read_mixed(
    staged: h5py.Dataset,
    source: Source,
    ledger: Ledger,
    names: tuple[str, ...],
    selection: Selection,
    new_dtype: Any,
) -> Any:
    """Read a selection: one read of the base, then a patch for each run of chunks held.

    Parameters
    ----------
    staged
        Has the chunks that are held, and fill values beyond the kept box.
    source
        Has the rest of the kept box.
    names
        Of fields.
    selection
        What to read.
    new_dtype
        Type to convert to, or None.
    """
    touched = ledger.kept_chunks(ledger.touched(selection))
    held = ledger.held_among(touched) if ledger.held else []
    index = (*names, *selection.index())
    inside = selection.within((0,) * len(ledger.kept), ledger.kept)
    if len(held) == count(touched) or any(span.start >= span.stop for span in inside):
        return read_dataset(staged, index, new_dtype)
    whole = all(
        span == slice(0, len(axis)) for span, axis in zip(inside, selection.axes, strict=True)
    )
    if whole:
        values = source.read(index, new_dtype)
        if not held:
            return values
    else:
        values = read_dataset(staged, index, new_dtype)
    # A field on its own is a view with gaps, which cannot take the shape of the selection.
    values = np.ascontiguousarray(values)
    result_ndim = sum(not axis.scalar for axis in selection.axes)
    full = values.reshape(selection.shape + values.shape[result_ndim:])
    if not whole:
        full[inside] = source.read((*names, *selection.take(inside)), new_dtype)
    for box in runs(held, ledger.grid(), len(held)):
        region = ledger.region(box)
        part = selection.within([s.start for s in region], [s.stop for s in region])
        full[part] = read_dataset(staged, (*names, *selection.take(part)), new_dtype)
    return values


class Readable(Protocol):
    """What `read_masked` reads from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        ...

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        ...

    def __getitem__(self, args: Any, new_dtype: Any = None) -> Any: ...


def read_masked(
    array: Readable, names: Sequence[str], mask: NDArray[np.bool_], new_dtype: Any
) -> NDArray[Any]:
    """Read the elements where a mask of the dataset's shape is true, slab by slab.

    Returns
    -------
    (n,) elements in row-major order.
    """
    rows, height = array.shape[0], array.chunks[0]
    row_nbytes = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    step = max(1, SLAB_NBYTES // max(1, row_nbytes * height)) * height
    empty = array.__getitem__((*names, slice(0, 0)), new_dtype)
    values = np.empty((int(mask.sum()), *empty.shape[mask.ndim :]), empty.dtype)
    done = 0
    for start in range(0, rows, step):
        chosen = mask[start : start + step]
        if chosen.any():
            slab = array.__getitem__((*names, slice(start, start + step)), new_dtype)
            n = int(chosen.sum())
            values[done : done + n] = slab[chosen]
            done += n
    return values
