"""Files that hold something for a while, and then something else."""

from __future__ import annotations

from typing import Any

from h5py import h5f, h5g, h5i

_OBJECTS = h5f.OBJ_ALL & ~h5f.OBJ_FILE


def empty_file(file_id: Any, name: bytes) -> bool:
    """Close all that is open in a file, as closing the file would, and delete all that is in it.

    Parameters
    ----------
    file_id
        h5py's FileID.
    name
        Of the only group that may be in it.

    Returns
    -------
    Whether that was done. Something else may be what `stubs` puts object headers in: HDF5 would
    free their space twice.
    """
    root = h5g.open(file_id, b"/")
    if list(root) != [name]:
        return False
    root.unlink(name)
    for opened in h5f.get_obj_ids(file_id, _OBJECTS):
        while opened.valid:
            h5i.dec_ref(opened)
    return True
