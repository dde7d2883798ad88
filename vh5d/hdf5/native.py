"""The few HDF5 calls that h5py does not offer as they are, called in the library h5py has loaded.

h5py turns variable-length values and references into Python objects on the way, which loses byte
orders inside sequences, crashes on sequences of region references and cannot carry some types at
all. `H5Aread` and its kin, called directly, carry every type exactly, in the memory layout that the
HDF5 reference manual gives: `hvl_t` (length, pointer), `char *`, `hobj_ref_t` (8 bytes) and
`hdset_reg_ref_t` (12 bytes).

The symbols are looked up in h5py's own extension module, hence in the very library it uses. Every
call holds h5py's lock, and the interpreter's: file drivers written in Python stay safe.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Self

from h5py import h5, h5a, h5i, h5r, h5s
from h5py._objects import phil

OBJECT_REFERENCE_NBYTES = 8
REGION_REFERENCE_NBYTES = 12
_DEFAULT = 0
_ID = ctypes.c_int64  # hid_t, since HDF5 1.10
_PTR = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "H5Aread": (ctypes.c_int, _ID, _ID, _PTR),
    "H5Awrite": (ctypes.c_int, _ID, _ID, _PTR),
    "H5Aget_create_plist": (_ID, _ID),
    "H5Acreate2": (_ID, _ID, ctypes.c_char_p, _ID, _ID, _ID, _ID),
    "H5Dread": (ctypes.c_int, _ID, _ID, _ID, _ID, _ID, _PTR),
    "H5Dwrite": (ctypes.c_int, _ID, _ID, _ID, _ID, _ID, _PTR),
    "H5Dvlen_reclaim": (ctypes.c_int, _ID, _ID, _ID, _PTR),
    "H5Pget_fill_value": (ctypes.c_int, _ID, _ID, _PTR),
    "H5Oget_comment": (ctypes.c_ssize_t, _ID, _PTR, ctypes.c_size_t),
    "H5Oset_comment": (ctypes.c_int, _ID, ctypes.c_char_p),
    "H5Pclose": (ctypes.c_int, _ID),
    "H5Pset_metadata_read_attempts": (ctypes.c_int, _ID, ctypes.c_uint),
    "H5Pencode2": (ctypes.c_int, _ID, _PTR, _PTR, _ID),
    "H5Pget_chunk_opts": (ctypes.c_int, _ID, _PTR),
    "H5Rcreate": (ctypes.c_int, _PTR, _ID, ctypes.c_char_p, ctypes.c_int, _ID),
    "H5Rdereference2": (_ID, _ID, _ID, ctypes.c_int, _PTR),
    "H5Rget_region": (_ID, _ID, ctypes.c_int, _PTR),
    "H5Fget_free_sections": (ctypes.c_ssize_t, _ID, ctypes.c_int, ctypes.c_size_t, _PTR),
}


@cache
def _function(name: str) -> Any:
    """Return the C function, with its signature."""
    try:
        function = getattr(ctypes.PyDLL(h5.__file__), name)
    except (OSError, AttributeError) as error:
        raise RuntimeError(f"h5py's HDF5 library does not show {name}: {error}") from error
    function.restype, *function.argtypes = _SIGNATURES[name]
    return function


def _call(name: str, *arguments: Any) -> int:
    with phil:
        result = int(_function(name)(*arguments))
    if result < 0:
        raise RuntimeError(f"{name} failed")
    return result


class Values:
    """Values in memory as HDF5 lays them out, with the memory behind their pointers.

    Parameters
    ----------
    type_id
        Element type, in its memory form (what ``get_type`` of an attribute or dataset returns).
    space
        Dataspace of the values in `buffer`; all of it is selected.
    count
        Number of elements.
    """

    def __init__(self, type_id: Any, space: Any, count: int) -> None:
        self.type_id = type_id
        self.space = space
        self.count = count
        self.buffer = ctypes.create_string_buffer(max(1, count * type_id.get_size()))

    @property
    def address(self) -> int:
        """Where in memory the first value is."""
        return ctypes.addressof(self.buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give back the memory that HDF5 allocated for variable-length values."""
        _call("H5Dvlen_reclaim", self.type_id.id, self.space.id, _DEFAULT, self.address)


def attribute_values(attribute: Any, type_id: Any, space: Any) -> Values:
    """Read an attribute; to be used in a with statement, the values are valid inside it only."""
    values = Values(type_id, space, space.get_simple_extent_npoints())
    _call("H5Aread", attribute.id, type_id.id, values.address)
    return values


def write_attribute(attribute: Any, values: Values) -> None:
    """Write values of the attribute's own type and dataspace."""
    _call("H5Awrite", attribute.id, values.type_id.id, values.address)


def create_attribute_like(source: Any, loc: Any, name: bytes, type_id: Any, space: Any) -> Any:
    """Create an attribute whose name has the character set of `source`'s."""
    plist = _call("H5Aget_create_plist", source.id)
    try:
        created = _call("H5Acreate2", loc.id, name, type_id.id, space.id, plist, _DEFAULT)
    finally:
        _call("H5Pclose", plist)
    return h5a.AttrID(created)


def dataset_values(dataset: Any, type_id: Any, file_space: Any) -> Values:
    """Read the selected elements of a dataset; to be used like `attribute_values`."""
    count = int(file_space.get_select_npoints())
    values = Values(type_id, h5s.create_simple((count,)), count)
    _call(
        "H5Dread", dataset.id, type_id.id, values.space.id, file_space.id, _DEFAULT, values.address
    )
    return values


def write_dataset(dataset: Any, file_space: Any, values: Values) -> None:
    """Write values into the selected elements of a dataset of the same type."""
    spaces = (values.space.id, file_space.id, _DEFAULT)
    _call("H5Dwrite", dataset.id, values.type_id.id, *spaces, values.address)


def encoded_properties(plist: Any) -> bytes:
    """Encode a property list: equal lists come out equal, but for `chunk_options`."""
    size = ctypes.c_size_t()
    _call("H5Pencode2", plist.id, None, ctypes.addressof(size), _DEFAULT)
    buffer = ctypes.create_string_buffer(size.value)
    _call("H5Pencode2", plist.id, buffer, ctypes.addressof(size), _DEFAULT)
    return buffer.raw[: size.value]


def chunk_options(dcpl: Any) -> int:
    """Return the options of a chunked layout: whether chunks at the edge are filtered."""
    options = ctypes.c_uint()
    _call("H5Pget_chunk_opts", dcpl.id, ctypes.addressof(options))
    return options.value


def fill_value(dcpl: Any, type_id: Any) -> Values:
    """Read a fill value of creation properties; to be used like `attribute_values`."""
    values = Values(type_id, h5s.create(h5s.SCALAR), 1)
    _call("H5Pget_fill_value", dcpl.id, type_id.id, values.address)
    return values


def comment_of(obj: Any) -> bytes:
    """Return an object's comment; h5py's own call returns memory it has freed."""
    length = _call("H5Oget_comment", obj.id, None, 0)
    if not length:
        return b""
    text = ctypes.create_string_buffer(length + 1)
    _call("H5Oget_comment", obj.id, ctypes.addressof(text), length + 1)
    return text.value


def set_comment(obj: Any, text: bytes) -> None:
    """Set an object's comment."""
    _call("H5Oset_comment", obj.id, text)


def open_object(loc: Any, address: int) -> Any:
    """Open the object whose header lies at `address` in `loc`'s file; a reference is an address."""
    raw = ctypes.c_uint64(address)
    opened = _call("H5Rdereference2", loc.id, _DEFAULT, h5r.OBJECT, ctypes.addressof(raw))
    return h5i.wrap_identifier(opened)


def open_region(loc: Any, reference: bytes) -> tuple[Any, Any]:
    """Open what a region reference points at.

    Returns
    -------
    tuple
        The dataset's identifier and its dataspace with the region selected.
    """
    raw = ctypes.create_string_buffer(reference, REGION_REFERENCE_NBYTES)
    kind = h5r.DATASET_REGION
    target = _call("H5Rdereference2", loc.id, _DEFAULT, kind, ctypes.addressof(raw))
    dataset = h5i.wrap_identifier(target)
    space = h5s.SpaceID(_call("H5Rget_region", loc.id, kind, ctypes.addressof(raw)))
    return dataset, space


def create_region(dataset: Any, space: Any) -> bytes:
    """Make a region reference: `space`'s selection in `dataset`. Stored in `dataset`'s file."""
    raw = ctypes.create_string_buffer(REGION_REFERENCE_NBYTES)
    _call("H5Rcreate", ctypes.addressof(raw), dataset.id, b".", h5r.DATASET_REGION, space.id)
    return raw.raw


def free_sections(file_id: Any) -> list[tuple[int, int]]:
    """Return address and length of what HDF5 keeps as free in an open file, of all kinds."""
    count = _call("H5Fget_free_sections", file_id.id, _DEFAULT, 0, None)
    if not count:
        return []
    found = (ctypes.c_uint64 * (2 * count))()  # H5F_sect_info_t: addr, size
    count = _call("H5Fget_free_sections", file_id.id, _DEFAULT, count, ctypes.addressof(found))
    return [(found[2 * i], found[2 * i + 1]) for i in range(count)]


def set_read_attempts(access: Any, attempts: int) -> None:
    """Say how often HDF5 reads metadata again whose checksum is wrong, of a file opened for SWMR.

    Parameters
    ----------
    access
        h5py's PropFAID.
    attempts
        At least 1.
    """
    _call("H5Pset_metadata_read_attempts", access.id, attempts)
