"""Digests of what HDF5 keeps of an object without a checksum: attributes and plain values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from h5py import h5d, h5s

from vh5d.hdf5.attributes import list_attributes
from vh5d.hdf5.dataset_info import Storage, open_dataset
from vh5d.hdf5.element_type import layout_of
from vh5d.hdf5.fingerprint import Sketch

_PLAIN = (Storage.WHOLE, Storage.CONTIGUOUS)


def seal_of(opened: Any, *, without: Collection[str] = ()) -> bytes:
    """Return the 16-byte digest of an object's attributes, and of values that no chunks hold.

    Which object a reference means does not count.

    Parameters
    ----------
    opened
        The object.
    without
        Names of attributes that do not count.
    """
    sketch = Sketch(opened)
    omitted = {name.encode() for name in without}
    for name, utf8 in sorted(list_attributes(opened, tracked=False)):
        if name not in omitted:
            sketch.add_attribute(opened, name, utf8=utf8)
    if isinstance(opened, h5d.DatasetID) and not _in_chunks(opened):
        dataset = open_dataset(opened)
        if dataset.info.storage in _PLAIN:
            sketch.add_type(dataset.type_id, dataset.layout)
            sketch.add_values(dataset)
    return sketch.finish(lambda _address: None)


def _in_chunks(dataset: Any) -> bool:
    """Whether a dataset's storage is CHUNKED, without looking at more of it."""
    if dataset.get_create_plist().get_layout() != h5d.CHUNKED:
        return False
    simple = dataset.get_space().get_simple_extent_type() == h5s.SIMPLE
    return simple and layout_of(dataset.get_type()).plain
