"""A dataset without chunks that is being edited: scalar, null, or small."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from vh5d.hdf5.regions import retarget_region
from vh5d.versioned.array_sources import fill_of, read_dataset, write_block
from vh5d.versioned.array_views import ArrayViews
from vh5d.versioned.indexing import plain
from vh5d.versioned.spill import DEFAULT_BUDGET, Scratch


class WholeArray(ArrayViews):
    """A dataset in the making that is copied as a whole when it is first changed.

    For what has no chunks: scalar and null dataspaces, compact and contiguous layouts.

    Parameters
    ----------
    shape
        () for a scalar, None for a null dataspace. With a base it must be the base's.
    dtype
        Element type. With a base it must be the base's.
    fillvalue
        Value of elements never written; None for HDF5's default.
    base
        The dataset of the previous version.
    budget_bytes
        Memory to use before spilling to a temporary file, if `scratch` is not given.
    scratch
        Scratch space shared with other datasets; its owner closes it.

    Raises
    ------
    ValueError, TypeError
        h5py would not create such a dataset, or `shape` is not the base's.
    """

    def __init__(
        self,
        shape: tuple[int, ...] | None,
        dtype: DTypeLike,
        fillvalue: Any = None,
        base: h5py.Dataset | None = None,
        *,
        budget_bytes: int = DEFAULT_BUDGET,
        scratch: Scratch | None = None,
    ) -> None:
        if base is not None and base.shape != shape:
            raise ValueError(f"the base has shape {base.shape}, not {shape}")
        self.base = base
        self._shape = shape
        self._given_dtype = dtype
        self._fillvalue = fillvalue
        self._owns_scratch = scratch is None
        self._scratch = Scratch(budget_bytes) if scratch is None else scratch
        self._staged: h5py.Dataset | None = None
        self._changed = base is None
        if base is None:
            self._stage()

    @property
    def _dataset(self) -> h5py.Dataset:
        return self.base if self._staged is None else self._staged

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape; None for a null dataspace."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type, as h5py gives it."""
        dtype: np.dtype[Any] = self._dataset.dtype
        return dtype

    @property
    def chunks(self) -> None:
        """None: there are none."""
        return

    @property
    def maxshape(self) -> tuple[int, ...] | None:
        """The shape: it cannot be resized."""
        return self._shape

    @property
    def fillvalue(self) -> Any:
        """Value of elements never written, as h5py gives it."""
        return self._dataset.fillvalue

    @property
    def changed(self) -> bool:
        """Whether it may differ from the base."""
        return self._changed

    def __getitem__(self, args: Any, new_dtype: Any = None) -> Any:
        return read_dataset(self._dataset, self._retarget(plain(args)), new_dtype)

    def __setitem__(self, args: Any, value: Any) -> None:
        staged = self._stage()
        staged[self._retarget(plain(args))] = value
        self._changed = True
        self._scratch.check()

    def read_direct(self, dest: NDArray[Any], source_sel: Any = None, dest_sel: Any = None) -> None:
        """Read into an array, converted to its type; as h5py does."""
        self._dataset.read_direct(dest, source_sel, dest_sel)

    def write_direct(
        self, source: NDArray[Any], source_sel: Any = None, dest_sel: Any = None
    ) -> None:
        """Write from an array, converted from its type; as h5py does."""
        self._stage().write_direct(source, source_sel, dest_sel)
        self._changed = True
        self._scratch.check()

    def resize(self, size: int | tuple[int, ...], axis: int | None = None) -> None:
        """Refuse: h5py resizes chunked datasets only.

        Raises
        ------
        TypeError
            Always.
        """
        self._dataset.resize(size, axis)

    def write_to(self, dataset: h5py.Dataset) -> None:
        """Write all elements to a dataset of the same shape and type."""
        _copy(self._dataset, dataset)

    def close(self) -> None:
        """Free what is held; only needed without a `scratch` of somebody else's."""
        self._staged = None
        if self._owns_scratch:
            self._scratch.close()

    def _stage(self) -> h5py.Dataset:
        if self._staged is None:
            if self._shape is None:
                staged = self._scratch.create(data=h5py.Empty(self._given_dtype))
            else:
                fillvalue = self._fillvalue
                if fillvalue is None and self.base is not None:
                    fillvalue = fill_of(self.base)
                staged = self._scratch.create(
                    shape=self._shape, dtype=self._given_dtype, fillvalue=fillvalue
                )
            if self.base is not None:
                _copy(self.base, staged)
            self._staged = staged
        return self._staged

    def _retarget(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.base is None or self._staged is None:
            return args
        if len(args) == 1 and isinstance(args[0], h5py.RegionReference):
            return (retarget_region(args[0], self.base, self._staged),)
        return args


def _copy(source: h5py.Dataset, target: h5py.Dataset) -> None:
    if source.shape == () and h5py.check_vlen_dtype(source.dtype) is not None:
        # What indexing gives is the element's array: it would be taken for many elements.
        values = np.empty((), source.dtype)
        source.read_direct(values)
        target.write_direct(values)
    elif source.size:
        write_block(target, tuple(slice(0, n) for n in source.shape), source[()])
