"""How a dataset is to be stored from now on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import UsageError
from vh5d.hdf5.creation_options import creation_options


@dataclass(frozen=True)
class Recipe:
    """What is to be different about a dataset.

    Attributes
    ----------
    dtype
        Its new element type; None for its own.
    options
        Arguments of h5py's `create_dataset` that it is to have, over those that it has.
    """

    dtype: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def template(self, old: h5py.Dataset, create: Callable[..., h5py.Dataset]) -> h5py.Dataset:
        """Make a dataset of the shape of another, without values.

        Parameters
        ----------
        old
            The other.
        create
            `create_dataset` of a group.

        Raises
        ------
        ValueError, TypeError
            What h5py says of such a dataset.
        UsageError
            It is not an array, and cannot be chunked.
        """
        options = self._options(old)
        if not old.shape:
            if options.keys() - {"fillvalue"}:
                raise UsageError(f"{old.name}: only arrays have chunks and filters")
            shape = h5py.Empty(self.dtype_of(old)) if old.shape is None else None
            if shape is not None:
                return create(None, data=shape)
        return create(None, old.shape, self.dtype_of(old), **options)

    def _options(self, old: h5py.Dataset) -> dict[str, Any]:
        had = creation_options(old)
        if self.options.get("compression", had.get("compression")) != had.get("compression"):
            had.pop("compression_opts", None)  # they are another's
        options = {**had, **self.options}
        if self.dtype is not None and "fillvalue" in had and "fillvalue" not in self.options:
            options["fillvalue"] = np.asarray(had["fillvalue"]).astype(self.dtype_of(old))[()]
        if options.get("compression") is None:
            options.pop("compression_opts", None)
        return {name: value for name, value in options.items() if value is not None}

    def dtype_of(self, old: h5py.Dataset) -> Any:
        """Return the element type that a dataset is to have."""
        return old.dtype if self.dtype is None else np.dtype(self.dtype)

    def convert(self, old: h5py.Dataset, values: Any) -> Any:
        """Return values of a dataset as they are to be."""
        values = np.asarray(values, None if old.dtype.subdtype is None else values.dtype)
        fill = self.options.get("fillvalue")
        blank = None if fill is None else _equal(values, old.fillvalue)
        if self.dtype is not None and old.dtype != self.dtype_of(old):
            values = values.astype(self.dtype_of(old))
        if blank is not None and blank.any():
            values = values.copy()
            values[blank] = fill
        return values


def _equal(values: NDArray[Any], fill: Any) -> NDArray[np.bool_]:
    if values.dtype.kind in "fc" and np.isnan(fill):
        return np.asarray(np.isnan(values))
    return np.asarray(values == fill)
