"""Element types as HDF5 1.10 can read them.

A file of the latest format (`libver="latest"`) holds type messages of the latest version even where
an older one says the same. HDF5 then refuses to make such a dataset in a file that older versions
shall read, and copies of the type keep the version.
"""

from __future__ import annotations

from h5py import h5t

_PORTABLE = 3
_OPAQUE, _COMPOUND, _REFERENCE, _ENUM, _VLEN, _ARRAY = 5, 6, 7, 8, 9, 10
# Message type and version, before the message itself in what H5Tencode gives.
_ENCODED_PREFIX = 2
# Class and version, bit field, size.
_HEAD = 8
# Bytes of properties: integer, float, time, string, bitfield, reference.
_PROPERTIES = {0: 4, 1: 12, 2: 2, 3: 0, 4: 4, _REFERENCE: 0}


def portable(type_id: h5t.TypeID) -> h5t.TypeID:
    """A transient copy of a type, in version 3 of the type message where that can say the same.

    Complex numbers and references of HDF5 1.12, which need later versions, are copied as they are,
    and so is what holds them.
    """
    encoded = bytearray(type_id.encode())
    if encoded[_ENCODED_PREFIX] >> 4 <= _PORTABLE or _lower(encoded, _ENCODED_PREFIX) < 0:
        return type_id.copy()
    return h5t.decode(bytes(encoded))


def _lower(encoded: bytearray, at: int) -> int:
    """Lower the version of the type at a position and of those in it.

    HDF5 File Format Specification 3.0, IV.A.2.d: versions 4 and 5 are laid out as version 3 is.

    Returns
    -------
    Where the type ends; -1 when version 3 cannot say it.
    """
    kind, version = encoded[at] & 0x0F, encoded[at] >> 4
    bits = int.from_bytes(encoded[at + 1 : at + 4], "little")
    size = int.from_bytes(encoded[at + 4 : at + _HEAD], "little")
    earlier = version < _PORTABLE and kind in (_COMPOUND, _ENUM, _ARRAY)
    if earlier or kind > _ARRAY or (kind == _REFERENCE and bits & 0x0F > 1):
        return -1
    encoded[at] = kind | min(version, _PORTABLE) << 4
    end = at + _HEAD
    if kind == _COMPOUND:
        return _lower_members(encoded, end, n=bits & 0xFFFF, size=size)
    if kind == _ENUM:
        return _lower_enum(encoded, end, n=bits & 0xFFFF, size=size)
    if kind == _ARRAY:
        return _lower(encoded, end + 1 + 4 * encoded[end])
    if kind == _VLEN:
        return _lower(encoded, end)
    return end + (bits & 0xFF if kind == _OPAQUE else _PROPERTIES[kind])


def _lower_members(encoded: bytearray, at: int, *, n: int, size: int) -> int:
    offset_width = (size.bit_length() - 1) // 8 + 1
    for _ in range(n):
        at = _lower(encoded, encoded.index(0, at) + 1 + offset_width)
        if at < 0:
            return at
    return at


def _lower_enum(encoded: bytearray, at: int, *, n: int, size: int) -> int:
    at = _lower(encoded, at)
    if at < 0:
        return at
    for _ in range(n):
        at = encoded.index(0, at) + 1
    return at + n * size
