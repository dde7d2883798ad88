"""Where the pointers and references lie in an element of an HDF5 type.

A type without any is *plain*: its bytes are its value, and move from file to file unchanged. The
others are described as a NumPy structure over the memory layout HDF5 uses (`hvl_t`, `char *`,
`hobj_ref_t`, `hdset_reg_ref_t`), with the path to every leaf.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np
from h5py import h5t

from vh5d.hdf5.native import REGION_REFERENCE_NBYTES


class Leaf(Enum):
    """What a part of an element is."""

    PLAIN = "plain"
    OBJECT = "object reference"
    REGION = "region reference"
    STRING = "variable-length string"
    SEQUENCE = "variable-length sequence"
    OPAQUE_REFERENCE = "reference of HDF5 1.12"  # its memory form is private to the library


_DTYPES = {
    Leaf.OBJECT: np.dtype("u8"),
    Leaf.REGION: np.dtype((np.void, REGION_REFERENCE_NBYTES)),
    Leaf.STRING: np.dtype("u8"),
    Leaf.SEQUENCE: np.dtype([("length", "u8"), ("pointer", "u8")]),
}
_ROOT = "element"


@dataclass(frozen=True)
class Part:
    """A part of an element: the fields that lead to it, and what it is.

    Attributes
    ----------
    path
        Field names in `Layout.dtype`.
    leaf
        What it is.
    element
        Layout of the elements of a sequence.
    """

    path: tuple[str, ...]
    leaf: Leaf
    element: Layout | None = None


@dataclass(frozen=True)
class Layout:
    """The memory layout of an element.

    Attributes
    ----------
    dtype
        As wide as an element.
    parts
        All of its parts but padding; for a plain type one part, the whole element.
    plain
        Whether the bytes are the value.
    canonical
        The type in bytes that are the same whatever version of the format encodes it.
    """

    dtype: np.dtype[Any]
    parts: tuple[Part, ...]
    plain: bool
    canonical: bytes

    def holds(self, *leaves: Leaf) -> bool:
        """Whether any of `leaves` occurs, in sequences too."""
        return any(
            part.leaf in leaves or (part.element is not None and part.element.holds(*leaves))
            for part in self.parts
        )

    @property
    def has_references(self) -> bool:
        """Whether references of any kind occur, in sequences too."""
        return self.holds(Leaf.OBJECT, Leaf.REGION, Leaf.OPAQUE_REFERENCE)


def layout_of(type_id: Any) -> Layout:
    """Describe the memory layout of an HDF5 type.

    Parameters
    ----------
    type_id
        h5py's TypeID.
    """
    return _layout_of_encoded(type_id.encode())


@lru_cache(maxsize=1024)
def _layout_of_encoded(encoded: bytes) -> Layout:
    type_id = h5t.decode(encoded)
    dtype, parts = _describe(type_id)
    plain = all(part.leaf is Leaf.PLAIN for part in parts)
    if plain:
        dtype, parts = _plain(type_id)
    rooted = tuple(Part((_ROOT, *part.path), part.leaf, part.element) for part in parts)
    return Layout(np.dtype([(_ROOT, dtype)]), rooted, plain, _canonical(type_id))


def _plain(type_id: Any) -> tuple[np.dtype[Any], tuple[Part, ...]]:
    return np.dtype((np.void, type_id.get_size())), (Part((), Leaf.PLAIN),)


def _describe(type_id: Any) -> tuple[np.dtype[Any], tuple[Part, ...]]:
    kind = type_id.get_class()
    if kind == h5t.COMPOUND:
        return _describe_compound(type_id)
    if kind == h5t.ARRAY:
        dtype, parts = _describe(type_id.get_super())
        return np.dtype((dtype, type_id.get_array_dims())), parts
    if kind == h5t.VLEN:
        element = layout_of(type_id.get_super())
        return _DTYPES[Leaf.SEQUENCE], (Part((), Leaf.SEQUENCE, element),)
    if kind == h5t.STRING and type_id.is_variable_str():
        return _DTYPES[Leaf.STRING], (Part((), Leaf.STRING),)
    if kind == h5t.REFERENCE:
        return _describe_reference(type_id)
    return _plain(type_id)


def _describe_compound(type_id: Any) -> tuple[np.dtype[Any], tuple[Part, ...]]:
    members = range(type_id.get_nmembers())
    described = [_describe(type_id.get_member_type(i)) for i in members]
    dtype = np.dtype(
        {
            "names": [str(i) for i in members],
            "formats": [dtype for dtype, _ in described],
            "offsets": [type_id.get_member_offset(i) for i in members],
            "itemsize": type_id.get_size(),
        }
    )
    parts = tuple(
        Part((str(i), *part.path), part.leaf, part.element)
        for i, (_, inner) in enumerate(described)
        for part in inner
    )
    return dtype, parts


def _describe_reference(type_id: Any) -> tuple[np.dtype[Any], tuple[Part, ...]]:
    if type_id.equal(h5t.STD_REF_OBJ):
        return _DTYPES[Leaf.OBJECT], (Part((), Leaf.OBJECT),)
    if type_id.equal(h5t.STD_REF_DSETREG):
        return _DTYPES[Leaf.REGION], (Part((), Leaf.REGION),)
    dtype, _ = _plain(type_id)
    return dtype, (Part((), Leaf.OPAQUE_REFERENCE),)


def _canonical(type_id: Any) -> bytes:
    kind, size = type_id.get_class(), type_id.get_size()
    described: tuple[object, ...]
    if kind == h5t.COMPOUND:
        members = range(type_id.get_nmembers())
        described = (size, [_canonical_member(type_id, i) for i in members])
    elif kind == h5t.ENUM:
        members = range(type_id.get_nmembers())
        names = [(type_id.get_member_name(i), type_id.get_member_value(i)) for i in members]
        described = (_canonical(type_id.get_super()), names)
    elif kind == h5t.ARRAY:
        described = (type_id.get_array_dims(), _canonical(type_id.get_super()))
    elif kind == h5t.VLEN:
        described = (_canonical(type_id.get_super()),)
    elif kind == h5t.STRING and type_id.is_variable_str():
        described = ("variable", type_id.get_cset(), type_id.get_strpad())
    else:
        encoded = type_id.encode()
        # The low half of byte 2 is the class, the high half the version of the message.
        described = (encoded[:2], encoded[2] & 0x0F, encoded[3:])
    return repr((kind, *described)).encode()


def _canonical_member(type_id: Any, i: int) -> tuple[bytes, int, bytes]:
    member = _canonical(type_id.get_member_type(i))
    return type_id.get_member_name(i), type_id.get_member_offset(i), member
