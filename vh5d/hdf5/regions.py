"""Region references, as indexes of another dataset than their own."""

from __future__ import annotations

import h5py
from h5py import h5r


def retarget_region(
    reference: h5py.RegionReference, dataset: h5py.Dataset, other: h5py.Dataset
) -> h5py.RegionReference:
    """Return a reference to the same elements of another dataset.

    Parameters
    ----------
    reference
        To a region of `dataset`.
    dataset
        Where it belongs.
    other
        A dataset of the same rank.

    Raises
    ------
    ValueError
        The reference is to something else.
    """
    if h5r.dereference(reference, dataset.id) != dataset.id:
        raise ValueError("Region reference must point to this dataset")
    space = h5r.get_region(reference, dataset.id)
    target = other.id.get_space()
    space.set_extent_simple(target.shape, target.get_simple_extent_dims(True))
    return h5r.create(other.id, b".", h5r.DATASET_REGION, space)
