"""What every staged dataset can do, whether it is held in chunks or whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray


class ArrayViews(ABC):
    """The parts of `h5py.Dataset` that follow from reading.

    h5py's own functions are borrowed where they need no more of a dataset than what is here, so
    that views and iterators are h5py's.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...] | None:
        """Shape; None for a null dataspace."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Element type."""

    @property
    @abstractmethod
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of a chunk, if there are chunks."""

    @abstractmethod
    def __getitem__(self, args: Any) -> Any: ...

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape or ())

    @property
    def size(self) -> int | None:
        """Number of elements; None for a null dataspace."""
        return None if self.shape is None else int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """Bytes that the elements would take in memory, as h5py counts them."""
        return (self.size or 0) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.len()

    def len(self) -> int:
        """Return the length of the first axis.

        Raises
        ------
        TypeError
            The dataset is scalar or null.
        """
        if not self.shape:
            raise TypeError("Attempt to take len() of scalar dataset")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("Can't iterate over a scalar dataset")
        for i in range(self.shape[0]):
            yield self[i]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001 - NumPy's protocol
        if copy is False:
            raise ValueError("a dataset cannot be an array without a copy")
        # HDF5 converts as it reads: it clips where NumPy wraps around.
        values = self[()] if dtype is None else self.astype(dtype)[()]
        return np.asarray(values, dtype=dtype)

    def astype(self, dtype: DTypeLike) -> Any:
        """Return a view that reads as another type, converted by HDF5."""
        return h5py.Dataset.astype(self, dtype)

    def asstr(self, encoding: str | None = None, errors: str = "strict") -> Any:
        """Return a view that reads strings as `str`."""
        return h5py.Dataset.asstr(self, encoding, errors)

    def fields(self, names: Any, *, _prior_dtype: DTypeLike | None = None) -> Any:
        """Return a view of some fields of a compound type."""
        return h5py.Dataset.fields(self, names, _prior_dtype=_prior_dtype)

    def iter_chunks(self, sel: Any = None) -> Any:
        """Return an iterator over the chunks, as indexes, of a region.

        Raises
        ------
        TypeError
            The dataset has no chunks.
        ValueError
            The region is not in the dataset.
        """
        return h5py.Dataset.iter_chunks(self, sel)
