"""Space in a file that HDF5 accounts for and somebody else writes."""

from __future__ import annotations

from functools import cache

import h5py
from h5py import h5d, h5p, h5s, h5t


def allocate(group: h5py.Group, name: str, nbytes: int) -> int:
    """Make a contiguous uint8 dataset whose bytes HDF5 allocates now and never fills.

    Parameters
    ----------
    group
        Where the dataset is linked.
    name
        Its name.
    nbytes
        Its length, at least 1.

    Returns
    -------
    int
        The file address of its first byte.
    """
    space = h5s.create_simple((nbytes,))
    dataset = h5d.create(group.id, name.encode(), h5t.STD_U8LE, space, _properties())
    address = dataset.get_offset()
    if address is None:
        msg = f"HDF5 allocated nothing for {nbytes} bytes"
        raise RuntimeError(msg)
    return int(address)


@cache
def _properties() -> h5p.PropDCID:
    dcpl = h5p.create(h5p.DATASET_CREATE)
    dcpl.set_layout(h5d.CONTIGUOUS)
    dcpl.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    dcpl.set_fill_time(h5d.FILL_TIME_NEVER)
    dcpl.set_obj_track_times(False)
    return dcpl
