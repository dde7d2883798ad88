"""The filter pipeline message, written without the filters' plugins.

HDF5 File Format Specification 3.0, IV.A.2.l, version 2.
"""

from __future__ import annotations

import struct

from h5py import h5d, h5p, h5s, h5t, h5z

from vh5d.hdf5.memory_file import memory_file
from vh5d.hdf5.type_version import portable

# Filters below this are HDF5's own: their names are not stored (H5Z_FILTER_RESERVED).
_FIRST_NAMED = 256
_Filter = tuple[int, int, tuple[int, ...], bytes]


def filters_of(dcpl: h5p.PropDCID) -> list[_Filter]:
    """Filters of a creation property list: identifier, flags, parameters, name."""
    return [dcpl.get_filter(i) for i in range(dcpl.get_nfilters())]


def pipeline_message(dcpl: h5p.PropDCID, element_size: int) -> bytes:
    """Body of the filter pipeline message for the filters of `dcpl`.

    Parameters
    ----------
    dcpl
        As `get_create_plist` of a dataset gives it, or `settled` makes it.
    element_size
        Bytes an element: the shuffle filter's parameter, where it has none yet.
    """
    filters = filters_of(dcpl)
    parts = [struct.pack("<BB", 2, len(filters))]
    for identifier, flags, stored, name in filters:
        named = identifier >= _FIRST_NAMED
        values = stored or ((element_size,) if identifier == h5z.FILTER_SHUFFLE else ())
        text = name + b"\0" if named and name else b""
        parts.append(struct.pack("<H", identifier))
        parts.append(struct.pack("<H", len(text)) if named else b"")
        parts.append(struct.pack(f"<HH{len(text)}s", flags, len(values), text))
        parts.append(struct.pack(f"<{len(values)}I", *values))
    return b"".join(parts)


def settled(type_id: h5t.TypeID, space: h5s.SpaceID, dcpl: h5p.PropDCID) -> h5p.PropDCID:
    """`dcpl` with its filters' parameters as HDF5 would store them for such a dataset.

    Some filters (scale-offset, N-bit, SZIP, Blosc…) complete their parameters from the data type
    when a dataset is created; a property list that was never used lacks that. All its filters must
    be there.
    """
    with memory_file() as file:
        plist = dcpl.copy()
        plist.set_alloc_time(h5d.ALLOC_TIME_INCR)
        return h5d.create(file.id, b"d", portable(type_id), space, plist).get_create_plist()
