"""Fingerprints: 16 bytes that stay the same as long as an object does, wherever it lies.

Everything counts but the values that are compared by their stored bytes. Addresses never do: what
an object refers to counts by its path. As paths are known only when the whole file was walked, a
fingerprint is first a `Sketch`, and finished later.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from blake3 import blake3
from h5py import h5d
from numpy.typing import NDArray

from vh5d.hdf5 import native
from vh5d.hdf5.attributes import Attribute, list_attributes, open_attribute
from vh5d.hdf5.dataset_info import OpenDataset, Storage, allocated_blocks
from vh5d.hdf5.dataspace import extent_of, selection_of
from vh5d.hdf5.element_type import Layout, Leaf
from vh5d.hdf5.references import H5PY_ERRORS, leaves, region_target

NBYTES = 16
_BUFFER_NBYTES = 1 << 16
_NULL, _ELSEWHERE = b"\0null", b"\0elsewhere"  # no path begins with a zero byte


class Sketch:
    """A fingerprint but for the paths of the objects referred to.

    Parameters
    ----------
    loc
        Any identifier in the file.

    Attributes
    ----------
    refers_to
        Addresses of the objects that values refer to.
    unread
        What could not be read, one line each.
    """

    def __init__(self, loc: Any) -> None:
        self._loc = loc
        self._hasher = blake3()
        self._buffer = bytearray()
        self._pending: list[NDArray[np.uint64]] = []
        self.refers_to: set[int] = set()
        self.unread: list[str] = []

    def add(self, *fields: object) -> None:
        """Add numbers, names and the like, in a form that no others have."""
        self.add_bytes(repr(fields).encode())

    def add_bytes(self, data: bytes) -> None:
        """Add bytes, and how many."""
        self._buffer += len(data).to_bytes(8, "little")
        self._buffer += data
        if len(self._buffer) > _BUFFER_NBYTES:
            self._flush()

    def _flush(self) -> None:
        self._hasher.update(self._buffer)
        self._buffer.clear()

    def add_target(self, address: int) -> None:
        """Add an object by its path."""
        self._pending.append(np.array([address], np.uint64))

    def finish(self, path_of: Callable[[int], bytes | None]) -> bytes:
        """Return the fingerprint.

        Parameters
        ----------
        path_of
            The path of the object at an address; None when it has none.
        """
        known = {0: _NULL}
        for addresses in self._pending:
            for address in addresses.tolist():
                if address not in known:
                    known[address] = path_of(address) or _ELSEWHERE
                self.add_bytes(known[address])
        self._flush()
        return self._hasher.digest(length=NBYTES)

    def add_attributes(self, loc: Any, *, tracked: bool, without: Collection[bytes] = ()) -> None:
        """Add all attributes but some; those that cannot be read are noted in `unread`."""
        for name, utf8 in list_attributes(loc, tracked=tracked):
            if name not in without:
                self.add_attribute(loc, name, utf8=utf8)

    def add_attribute(self, loc: Any, name: bytes, *, utf8: bool) -> None:
        """Add an attribute; one that cannot be read is noted in `unread`."""
        self.add("attribute", name, utf8)
        try:
            self._add_attribute(open_attribute(loc, name, utf8=utf8))
        except H5PY_ERRORS as error:
            text = name.decode("utf-8", "backslashreplace")
            self.unread.append(f"attribute {text} cannot be read: {error}")
            self.add("unread")

    def _add_attribute(self, attribute: Attribute) -> None:
        self.add_type(attribute.type_id, attribute.layout)
        self.add(extent_of(attribute.space))
        if not attribute.count:
            return
        if attribute.layout.plain:
            self.add_bytes(attribute.read_plain().tobytes())
            return
        with attribute.values() as values:
            self._add_values(attribute.layout, values)

    def add_type(self, type_id: Any, layout: Layout) -> None:
        """Add a type; a committed one differs from a transient one, not from another committed."""
        self.add_bytes(layout.canonical)
        self.add(type_id.committed())

    def add_dataset(self, dataset: OpenDataset) -> None:
        """Add a dataset's definition, and its values when they are copied whole."""
        self.add_type(dataset.type_id, dataset.layout)
        self.add(dataset.info.shape, dataset.info.maxshape)
        self._add_creation_properties(dataset)
        if dataset.info.storage is Storage.DEFINITION:
            self._add_foreign_storage(dataset.dcpl)
        elif dataset.info.storage is Storage.WHOLE:
            self.add_values(dataset)

    def add_values(self, dataset: OpenDataset) -> None:
        """Add a dataset's values, wherever they are allocated."""
        try:
            self._add_data(dataset)
        except H5PY_ERRORS as error:
            self.unread.append(f"its values cannot be read: {error}")
            self.add("unread")

    def _add_creation_properties(self, dataset: OpenDataset) -> None:
        dcpl = dataset.dcpl
        defined = dcpl.fill_value_defined()
        info = dataset.info
        self.add(dcpl.get_layout(), info.chunks, info.filters)
        self.add(dcpl.get_alloc_time(), dcpl.get_fill_time(), defined)
        if defined == h5d.FILL_VALUE_USER_DEFINED:
            with native.fill_value(dcpl, dataset.type_id) as values:
                self._add_values(dataset.layout, values)

    def _add_foreign_storage(self, dcpl: Any) -> None:
        for i in range(dcpl.get_external_count()):
            self.add(dcpl.get_external(i))
        if dcpl.get_layout() != h5d.VIRTUAL:
            return
        for i in range(dcpl.get_virtual_count()):
            self.add(dcpl.get_virtual_filename(i), dcpl.get_virtual_dsetname(i))
            self.add(selection_of(dcpl.get_virtual_vspace(i)))
            self.add(selection_of(dcpl.get_virtual_srcspace(i)))

    def _add_data(self, dataset: OpenDataset) -> None:
        for start, space in allocated_blocks(dataset):
            self.add(start)
            if dataset.layout.plain:
                self.add_bytes(dataset.read_plain(space).tobytes())
                continue
            with native.dataset_values(dataset.id, dataset.type_id, space) as values:
                self._add_values(dataset.layout, values)

    def _add_values(self, layout: Layout, values: native.Values) -> None:
        for leaf, field in leaves(layout, values.address, values.count):
            if leaf is Leaf.STRING:
                for pointer in field.ravel().tolist():
                    self.add_bytes(ctypes.string_at(pointer) if pointer else _NULL)
            elif leaf is Leaf.OBJECT:
                self._add_references(field.ravel().copy())
            elif leaf is Leaf.REGION:
                self._add_regions(field)
            elif leaf is Leaf.OPAQUE_REFERENCE:
                raise TypeError("its references are of a kind that h5py does not know")
            else:
                self.add_bytes(field.tobytes())

    def _add_references(self, addresses: NDArray[np.uint64]) -> None:
        self._pending.append(addresses)
        self.refers_to.update(int(address) for address in np.unique(addresses) if address)

    def _add_regions(self, field: NDArray[Any]) -> None:
        for reference in field.ravel():
            address, selection = region_target(self._loc, reference.tobytes()) or (0, None)
            self.add(selection)
            self._add_references(np.array([address], np.uint64))


def sketch_object(loc: Any, opened: Any, *, kind: str, plist: Any) -> Sketch:
    """Begin the fingerprint of an object: its kind, comment, attribute order and attributes.

    Parameters
    ----------
    loc
        Any identifier in the file.
    opened
        The object.
    kind
        Group, dataset or datatype.
    plist
        Its creation property list.
    """
    sketch = Sketch(loc)
    order = plist.get_attr_creation_order()
    sketch.add(kind, native.comment_of(opened), order, plist.get_attr_phase_change())
    sketch.add_attributes(opened, tracked=bool(order))
    return sketch
