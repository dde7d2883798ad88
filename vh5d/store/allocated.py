"""Which elements of a dataset were ever written."""

from __future__ import annotations

import h5py

from vh5d.hdf5.dataset_info import allocated_blocks, open_dataset
from vh5d.store.boxes import Box


def allocated_boxes(dataset: h5py.Dataset) -> list[Box]:
    """Return the elements that a dataset has storage for, however large its dataspace.

    Parameters
    ----------
    dataset
        Of values that are not in other files.
    """
    boxes = []
    for start, space in allocated_blocks(open_dataset(dataset.id)):
        if not start:
            boxes.append(Box((), ()))
            continue
        low, high = space.get_select_bounds()
        boxes.append(Box(tuple(low), tuple(last + 1 for last in high)))
    return boxes
