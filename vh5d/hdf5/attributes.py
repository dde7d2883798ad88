"""Attributes: listed in their order, read as they lie, written into another file unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from h5py import h5, h5a, h5s, h5t
from numpy.typing import NDArray

from vh5d.hdf5 import native
from vh5d.hdf5.element_type import Layout, Leaf, layout_of
from vh5d.hdf5.references import H5PY_ERRORS, Translate, Translator


@dataclass(frozen=True, slots=True)
class Attribute:
    """An open attribute.

    Attributes
    ----------
    name
        As stored.
    utf8
        Whether the name is marked as UTF-8, not ASCII.
    id, type_id, space
        h5py's identifiers; the type in its memory form.
    layout
        Memory layout of one element.
    """

    name: bytes
    utf8: bool
    id: Any
    type_id: Any
    space: Any
    layout: Layout

    @property
    def count(self) -> int:
        """Number of elements: 0 for a null dataspace."""
        if self.space.get_simple_extent_type() == h5s.NULL:
            return 0
        return int(self.space.get_simple_extent_npoints())

    def read_plain(self) -> NDArray[np.void]:
        """Read the elements of a plain type as they lie in the file."""
        dtype = np.dtype((np.void, self.type_id.get_size()))
        values = np.zeros(self.space.get_simple_extent_dims(), dtype)
        self.id.read(values, mtype=self.type_id)
        return values

    def values(self) -> native.Values:
        """Read elements that are not plain; see `vh5d.hdf5.native.attribute_values`."""
        return native.attribute_values(self.id, self.type_id, self.space)


def count_attributes(loc: Any) -> int:
    """Return how many attributes an object has."""
    # Not h5o.get_info: see `vh5d.hdf5.address.address_of`.
    return int(h5a.get_num_attrs(loc))


def list_attributes(loc: Any, *, tracked: bool) -> list[tuple[bytes, bool]]:
    """List names and whether they are UTF-8.

    Parameters
    ----------
    loc
        The object.
    tracked
        Whether it tracks the order in which attributes were made. They come in this order, else
        sorted by name.
    """
    found: list[tuple[bytes, bool]] = []
    if count_attributes(loc):
        index = h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME
        h5a.iterate(
            loc,
            lambda name, info: found.append((name, info.cset == h5t.CSET_UTF8)),
            index_type=index,
            order=h5.ITER_INC,
            info=True,
        )
    return found


def open_attribute(loc: Any, name: bytes, *, utf8: bool) -> Attribute:
    """Open an attribute of `loc`."""
    opened = h5a.open(loc, name)
    type_id = opened.get_type()
    return Attribute(name, utf8, opened, type_id, opened.get_space(), layout_of(type_id))


def tracks_attribute_order(loc: Any) -> bool:
    """Whether an object remembers the order in which its attributes were made."""
    return bool(loc.get_create_plist().get_attr_creation_order())


def copy_attributes(
    source: Any,
    target: Any,
    translate: Translate,
    *,
    path: bytes = b"",
    select: Callable[[bytes], bool] | None = None,
) -> list[str]:
    """Copy the attributes of an object to an object of another file, exactly as they are typed.

    Parameters
    ----------
    source, target
        h5py's low-level identifiers of the two objects.
    translate
        Where the copies of referenced objects are; they must all exist by now.
    path
        Path of `source`, for the warnings.
    select
        Which names to copy; all when it is None.

    Returns
    -------
    list of str
        What could not be copied, one line each: attributes, and references that point nowhere.
    """
    warnings: list[str] = []
    if not count_attributes(source):
        return warnings
    for name, utf8 in list_attributes(source, tracked=tracks_attribute_order(source)):
        if select is not None and not select(name):
            continue
        translator = Translator(source, target, translate)
        label = f"{_text(path)}: attribute {_text(name)}"
        try:
            _copy_attribute(open_attribute(source, name, utf8=utf8), target, translator)
        except H5PY_ERRORS as error:
            warnings.append(f"{label} is not kept: {error}")
        if translator.lost:
            warnings.append(f"{label}: {translator.lost} references point at nothing that is kept")
    return warnings


def _copy_attribute(attribute: Attribute, target: Any, translator: Translator) -> None:
    if attribute.layout.holds(Leaf.OPAQUE_REFERENCE):
        raise TypeError("its references are of a kind that h5py does not know")
    created = _create_like(attribute, target)
    try:
        if not attribute.count:
            return
        if attribute.layout.plain:
            created.write(attribute.read_plain(), mtype=attribute.type_id)
            return
        with attribute.values() as values:
            translator.rewrite(attribute.layout, values.address, values.count)
            native.write_attribute(created, values)
    except H5PY_ERRORS:
        h5a.delete(target, attribute.name)
        raise


def _create_like(attribute: Attribute, target: Any) -> Any:
    type_id = attribute.type_id
    if type_id.committed():
        type_id = type_id.copy()  # a committed type cannot be named from another file
    if attribute.utf8:
        return native.create_attribute_like(
            attribute.id, target, attribute.name, type_id, attribute.space
        )
    return h5a.create(target, attribute.name, type_id, attribute.space)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
