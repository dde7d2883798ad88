"""How a new dataset is stored when nobody says how: in chunks, free to grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from vh5d.hdf5.stubs import PLAIN_KINDS, copy_values, default_chunks, grown_stub

FILTERS = ("compression", "shuffle", "fletcher32", "scaleoffset")
LEAST_HELD_NBYTES = 1 << 14  # smaller data is not worth an array beside the draft
USUAL_ITEMSIZE = 8  # bytes, of elements whose type is not known yet


def to_be_held(shape: Any, dtype: Any, data: Any, kwds: dict[str, Any]) -> bool:
    """Whether the values of a new dataset may be kept as an array until they are committed.

    Then HDF5 need not write them into the draft and read them again. It must have nothing to do
    with them: no filter, no conversion.

    Parameters
    ----------
    shape, dtype, data, kwds
        The arguments of h5py's `create_dataset`.
    """
    return (
        isinstance(data, np.ndarray)
        and data.dtype.kind in PLAIN_KINDS
        and data.nbytes >= LEAST_HELD_NBYTES
        and (dtype is None or dtype == data.dtype)
        and (shape is None or shape == data.shape)
        and kwds.keys() <= {"chunks", "maxshape", "fillvalue"}
    )


def create_anonymous(
    create: Callable[..., h5py.Dataset], shape: Any, dtype: Any, data: Any, kwds: dict[str, Any]
) -> tuple[h5py.Dataset, bool]:
    """Create a dataset without a name.

    Parameters
    ----------
    create
        h5py's `create_dataset`.
    shape, dtype, data, kwds
        Its arguments.

    Returns
    -------
    The dataset, and whether all of its storage was left to us.
    """
    unsaid = kwds.get("chunks") in (None, False)
    filtered = any(kwds.get(key) not in (None, False) for key in FILTERS)
    contiguous = kwds.get("chunks") is False and filtered  # h5py refuses it
    if kwds.get("maxshape") is not None or "external" in kwds or "dcpl" in kwds or contiguous:
        return create(None, shape, dtype, data, **kwds), False
    implicit = unsaid and not filtered
    known = _known_shape(shape, dtype, data)
    if known is None:
        made = create(None, shape, dtype, data, **kwds)
        if not made.shape:
            return made, False
        grown = h5py.Dataset(grown_stub(made.id))
        copy_values(made.id, grown.id)
        return grown, implicit
    if not known:
        return create(None, shape, dtype, data, **kwds), False
    limits: dict[str, Any] = {"maxshape": (None,) * len(known)}
    if unsaid:
        limits["chunks"] = _chunks(known, dtype, data)
    return create(None, shape, dtype, data, **{**kwds, **limits}), implicit


def _known_shape(shape: Any, dtype: Any, data: Any) -> tuple[int, ...] | None:
    """Return the shape that h5py will give the dataset, None when only h5py can tell."""
    if isinstance(shape, int):
        return (shape,)
    if shape is not None:
        try:
            return tuple(int(length) for length in shape)
        except (TypeError, ValueError):
            return None
    if isinstance(data, np.ndarray) and (dtype is None or not _has_shape(dtype)):
        return tuple(data.shape)
    return None


def _has_shape(dtype: Any) -> bool:
    try:
        return np.dtype(dtype).subdtype is not None
    except TypeError:
        return True


def _chunks(shape: tuple[int, ...], dtype: Any, data: Any) -> tuple[int, ...]:
    try:
        kind = np.dtype(dtype) if dtype is not None else getattr(data, "dtype", None)
    except TypeError:  # a committed type
        kind = None
    if kind is None:
        return default_chunks(shape, USUAL_ITEMSIZE)
    return default_chunks(shape, kind.itemsize or 1, whole=kind.hasobject or kind.kind == "T")
