"""Dataspaces, and selections in them, told in terms that do not depend on how they are encoded."""

from __future__ import annotations

from typing import Any

from h5py import h5s

Extent = tuple[tuple[int, ...] | None, tuple[int | None, ...] | None]


def extent_of(space: Any) -> Extent:
    """Return the shape and the maximum shape.

    Both are None for a null dataspace and empty for a scalar one; None in a maximum shape stands
    for a dimension without limit.
    """
    if space.get_simple_extent_type() == h5s.NULL:
        return None, None
    unlimited = space.get_simple_extent_dims(True)
    maxshape = tuple(None if n == h5s.UNLIMITED else n for n in unlimited)
    return space.get_simple_extent_dims(), maxshape


def selection_of(space: Any) -> tuple[object, ...]:
    """Describe what of a dataspace is selected, and the dataspace."""
    kind = space.get_select_type()
    selected: object = None
    if kind == h5s.SEL_POINTS:
        selected = space.get_select_elem_pointlist().tolist()
    elif kind == h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        selected = space.get_regular_hyperslab()
    elif kind == h5s.SEL_HYPERSLABS:
        selected = space.get_select_hyper_blocklist().tolist()
    return kind, selected, *extent_of(space)
