"""A dataset that is being edited: only chunks that were touched are held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from vh5d.hdf5.regions import retarget_region
from vh5d.hdf5.stubs import unfiltered_stub
from vh5d.versioned.array_blocks import cut, spread
from vh5d.versioned.array_ledger import Chunk, Ledger, grid, runs
from vh5d.versioned.array_read import read_masked, read_mixed
from vh5d.versioned.array_sources import (
    ArraySource,
    DatasetSource,
    Source,
    fill_of,
    read_dataset,
    write_block,
)
from vh5d.versioned.array_views import ArrayViews
from vh5d.versioned.indexing import mask_of, parse, plain, split_names
from vh5d.versioned.spill import DEFAULT_BUDGET, Scratch

TRANSFER_NBYTES = 16 * 2**20  # copied at once, from the base to scratch space and out of it
PLAIN_KINDS = "biufcSV"


class StagedArray(ArrayViews):
    """A chunked dataset in the making, over what was committed before.

    Reading and writing are h5py's own: chunks that are touched are copied into a dataset in
    scratch space (in memory, then in a temporary file), which HDF5 reads, converts and writes.
    So every index, every type and every error is what h5py makes of it. Chunks that were not
    touched are read from the base, in one operation, when they are asked for.

    Not for use by several threads at once.

    Parameters
    ----------
    shape
        At first; with a base it must be the base's.
    dtype
        Element type: anything h5py takes. With a base it must be the base's.
    chunks
        Shape of a chunk.
    maxshape
        As in h5py: None along an axis without a limit; None for `shape`.
    fillvalue
        Value of elements never written; None for HDF5's default.
    base
        The dataset of the previous version, which must stay open and as it is. It may have any
        layout.
    budget_bytes
        Memory to use before spilling to a temporary file, if `scratch` is not given.
    scratch
        Scratch space shared with other datasets; its owner closes it.
    stub
        DatasetID of a dataset in the scratch space that is like this one, whatever its filters.

    Raises
    ------
    ValueError, TypeError
        h5py would not create such a dataset, or `shape` is not the base's.
    """

    def __init__(  # noqa: PLR0913 - as many as create_dataset has
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        chunks: tuple[int, ...],
        maxshape: tuple[int | None, ...] | None = None,
        fillvalue: Any = None,
        base: h5py.Dataset | None = None,
        *,
        budget_bytes: int = DEFAULT_BUDGET,
        scratch: Scratch | None = None,
        stub: Any = None,
    ) -> None:
        if base is not None and base.shape != tuple(shape):
            raise ValueError(f"the base has shape {base.shape}, not {shape}")
        self._properties = {
            "shape": tuple(shape),
            "dtype": dtype,
            "chunks": tuple(chunks),
            "maxshape": tuple(shape) if maxshape is None else tuple(maxshape),
            "fillvalue": fillvalue,
        }
        self.base = base
        self._source: Source | None = DatasetSource(base) if base is not None else None
        self._owns_scratch = scratch is None
        self._scratch = Scratch(budget_bytes) if scratch is None else scratch
        self._stub = stub
        self._lazy_staged: h5py.Dataset | None = None
        nothing = (0,) * len(shape)
        self._ledger = Ledger(tuple(shape), tuple(chunks), nothing if base is None else base.shape)
        self._dtype: np.dtype[Any] = base.dtype if base is not None else self._staged.dtype

    @classmethod
    def from_array(
        cls,
        data: NDArray[Any],
        chunks: tuple[int, ...],
        maxshape: tuple[int | None, ...] | None = None,
        *,
        dtype: DTypeLike | None = None,
        fillvalue: Any = None,
        budget_bytes: int = DEFAULT_BUDGET,
        scratch: Scratch | None = None,
    ) -> StagedArray:
        """Return a new dataset with these values, which are copied.

        The same as a new array assigned as a whole, but plain values within the budget are kept
        as an array, so that nothing goes through HDF5 before they are committed.
        """
        data = np.asarray(data)
        wanted = data.dtype if dtype is None else dtype
        array = cls(
            data.shape,
            wanted,
            chunks,
            maxshape,
            fillvalue,
            budget_bytes=budget_bytes,
            scratch=scratch,
        )
        same_type = array.dtype == data.dtype and data.dtype.kind in PLAIN_KINDS
        if same_type and not data.dtype.hasobject and 0 < data.nbytes <= budget_bytes:
            array._source = ArraySource(data.copy(order="C"))
            array._ledger = Ledger(data.shape, array.chunks, data.shape)
        elif data.size:
            array[...] = data
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return self._ledger.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type, as h5py gives it."""
        return self._dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self._ledger.chunks

    @property
    def maxshape(self) -> tuple[int | None, ...]:
        """Shape up to which it can be resized; None along an axis without a limit."""
        maxshape: tuple[int | None, ...] = self._properties["maxshape"]
        return maxshape

    @property
    def fillvalue(self) -> Any:
        """Value of elements never written, as h5py gives it."""
        given = self._properties["fillvalue"]
        return (
            self.base.fillvalue
            if given is None and self.base is not None
            else (self._staged.fillvalue)
        )

    @property
    def changed(self) -> bool:
        """Whether it may differ from the base."""
        ledger = self._ledger
        return self.base is None or bool(ledger.changed) or not ledger.pristine_extent

    @property
    def same_layout_as_base(self) -> bool:
        """Whether the base's chunks may stand where they were not changed."""
        return self.base is not None and self.base.chunks == self.chunks

    def __getitem__(self, args: Any, new_dtype: Any = None) -> Any:
        args = plain(args)
        ledger, source = self._ledger, self._source
        if source is not None and not ledger.held and ledger.pristine_extent:
            values = source.read(args, new_dtype)
            if values is not NotImplemented:
                return values
        elif source is not None and not ledger.complete:
            names, index = split_names(args)
            mask = mask_of(index, self.shape)
            if mask is not None and self.ndim > 1:
                return read_masked(self, names, mask, new_dtype)
            selection = parse(index, self.shape)
            plainly = not names and new_dtype is None
            certain = plainly or isinstance(source, DatasetSource)
            if selection is not None and certain and set(names) <= set(self.dtype.names or ()):
                return read_mixed(self._staged, source, ledger, names, selection, new_dtype)
        args = self._settle(args)
        return read_dataset(self._staged, args, new_dtype)

    def __setitem__(self, args: Any, value: Any) -> None:
        args = plain(args)
        if any(isinstance(arg, h5py.MultiBlockSlice) for arg in args):
            value = spread(args, value, self.shape, self.dtype)

        def write(args: tuple[Any, ...]) -> None:
            self._staged[args] = value

        self._write(args, write)

    def read_direct(self, dest: NDArray[Any], source_sel: Any = None, dest_sel: Any = None) -> None:
        """Read into an array, converted to its type; as h5py does.

        Parameters
        ----------
        dest
            C-contiguous and writable.
        source_sel, dest_sel
            What `numpy.s_` gives; by default everything.
        """
        if source_sel is None and dest_sel is None and dest.shape == self.shape:
            dest[...] = self.astype(dest.dtype)[()]
            return
        index = plain(source_sel) if source_sel is not None else ()
        selection = parse(index, self.shape)
        if selection is not None:
            self._hold(self._ledger.touched(selection))
        else:
            index = self._settle(index)
        self._staged.read_direct(dest, index, dest_sel)

    def write_direct(
        self, source: NDArray[Any], source_sel: Any = None, dest_sel: Any = None
    ) -> None:
        """Write from an array, converted from its type; as h5py does.

        Parameters
        ----------
        source
            C-contiguous.
        source_sel, dest_sel
            What `numpy.s_` gives; by default everything.
        """

        def write(args: tuple[Any, ...]) -> None:
            self._staged.write_direct(source, source_sel, args)

        self._write(plain(dest_sel) if dest_sel is not None else (), write)

    def resize(self, size: int | tuple[int, ...], axis: int | None = None) -> None:
        """Change the shape, or the length of one axis.

        What is cut off does not come back; what is new has the fill value.

        Raises
        ------
        RuntimeError, ValueError, TypeError, OverflowError
            h5py would not.
        """
        self._staged.resize(size, axis)
        self._scratch.check()
        self._ledger.resize(self._staged.shape)

    def dirty(self) -> Iterator[tuple[Chunk, NDArray[Any]]]:
        """Yield chunks to be stored, in row-major order: position and elements.

        The elements have the shape of a chunk, C-contiguous, with the fill value beyond the edge
        of the dataset; they may be views of a larger array, and are not to be changed.
        """
        if self.base is None:
            yield from self.to_chunks()
        else:
            yield from self._cut(sorted(self._ledger.changed.union(self._ledger.cut())))

    def removed(self) -> NDArray[np.uint64]:
        """Return (m, ndim) positions of chunks of the base's that no longer exist.

        Not all of them need exist in the base. What was cut off and grown back is among them,
        unless it is in `dirty`.
        """
        if self.base is None:
            return np.empty((0, self.ndim), np.uint64)
        changed = self._ledger.changed
        gone = [
            chunk for box in self._ledger.gone() for chunk in product(*box) if chunk not in changed
        ]
        return np.array(sorted(gone), np.uint64).reshape(-1, self.ndim)

    def keeps(self, scaled: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which chunks of the base's are neither in `dirty` nor in `removed`.

        Parameters
        ----------
        scaled
            (n, ndim) positions in the base's chunk grid.

        Returns
        -------
        (n,) bool.
        """
        if self.base is None:
            return np.zeros(len(scaled), bool)
        return self._ledger.keeps(scaled)

    def to_chunks(self) -> Iterator[tuple[Chunk, NDArray[Any]]]:
        """Yield every chunk, as `dirty` does, but those that hold only the fill value."""
        ledger = self._ledger
        written = ledger.changed.union(product(*grid(ledger.kept, ledger.chunks)))
        yield from self._cut(sorted(written))

    def write_to(self, dataset: h5py.Dataset) -> None:
        """Write all elements to a dataset of the same shape and type."""
        ledger = self._ledger
        written = ledger.changed.union(product(*grid(ledger.kept, ledger.chunks)))
        for box in runs(sorted(written), ledger.grid(), self._limit):
            region = ledger.region(box)
            write_block(dataset, region, self[region])

    def close(self) -> None:
        """Free what is held; only needed without a `scratch` of somebody else's."""
        self._lazy_staged = None
        if self._owns_scratch:
            self._scratch.close()

    @property
    def _staged(self) -> h5py.Dataset:
        """The dataset in scratch space, made when it is first needed."""
        if self._lazy_staged is None and self._stub is not None:
            self._lazy_staged = h5py.Dataset(unfiltered_stub(self._stub))
            if self._lazy_staged.shape != self.shape:
                self._lazy_staged.resize(self.shape)
        elif self._lazy_staged is None:
            properties = dict(self._properties)
            if self.base is not None and properties["fillvalue"] is None:
                properties["fillvalue"] = fill_of(self.base)
            self._lazy_staged = self._scratch.create(**properties)
        return self._lazy_staged

    @property
    def _limit(self) -> int:
        """Chunks to copy at once."""
        nbytes = self.dtype.itemsize * int(np.prod(self.chunks, dtype=object))
        return max(1, TRANSFER_NBYTES // max(1, nbytes))

    def _hold(self, touched: Sequence[Sequence[int]]) -> None:
        """Copy chunks from the base, those that are not held yet."""
        ledger, source = self._ledger, self._source
        if source is None:
            return
        for box in ledger.missing(touched, self._limit):
            region = ledger.kept_region(box)
            write_block(self._staged, region, source.block(region))
            ledger.held.update(product(*box))
        self._scratch.check()

    def _settle(
        self, args: tuple[Any, ...], write: Callable[[tuple[Any, ...]], None] | None = None
    ) -> tuple[Any, ...]:
        """Make scratch space hold everything, for an index that only HDF5 can tell.

        Parameters
        ----------
        args
            The index.
        write
            What will be done there, if not reading.

        Returns
        -------
        The index to be used there.
        """
        ledger = self._ledger
        args = self._retarget(args)
        if ledger.complete:
            return args
        try:
            self._staged[args]
        except Exception:
            # It is no index at all; h5py may find fault with the value before it finds that.
            if write is not None:
                write(args)
            raise
        self._hold(ledger.grid())
        if self.base is None:
            ledger.changed.update(product(*grid(ledger.kept, ledger.chunks)))
        return args

    def _retarget(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.base is None or not (len(args) == 1 and isinstance(args[0], h5py.RegionReference)):
            return args
        return (retarget_region(args[0], self.base, self._staged),)

    def _write(self, args: tuple[Any, ...], write: Callable[[tuple[Any, ...]], None]) -> None:
        """Make ready the chunks that an index touches, write, and note them as changed."""
        names, index = split_names(args)
        ledger = self._ledger
        mask = mask_of(index, self.shape) if self.ndim > 1 else None
        selection = None if mask is not None else parse(index, self.shape)
        touched: list[list[Sequence[int]]]
        partial: Iterable[list[Sequence[int]]]
        if selection is not None:
            touched = [ledger.touched(selection)]
            partial = touched if names else ledger.uncovered(selection)
        elif mask is not None:
            touched = partial = ledger.masked(mask)
        else:
            args = self._settle(args, write)
            touched = partial = [[*ledger.grid()]]
        for box in partial:
            self._hold(box)
        write(args)  # h5py converts before it writes: what it refuses was not written in part
        self._scratch.check()
        for box in touched:
            ledger.note(box)
        if selection is not None and not names and selection.shape == self.shape:
            ledger.forget_base()

    def _cut(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, NDArray[Any]]]:
        return cut(self, self._ledger, chunks, self._limit, lambda: self._staged.fillvalue)
