"""A file with the content of a version whose own bytes were not kept."""

from __future__ import annotations

from pathlib import Path

import h5py

from vh5d.errors import StoreWriteError
from vh5d.hdf5.subtree import copy_root
from vh5d.store import layout
from vh5d.store.reader import StoreReader
from vh5d.store.versions import VersionInfo


def rebuild(reader: StoreReader, version: VersionInfo, target: Path) -> list[str]:
    """Fill a file with the objects, attributes and values of a version.

    Chunks are copied as the store has them, so what it compressed stays compressed.

    Parameters
    ----------
    reader
        The store.
    version
        The version.
    target
        An empty file.

    Returns
    -------
    list of str
        What could not be copied, one line each.

    Raises
    ------
    StoreWriteError
        The disk of the target refuses.
    """
    aside = reader.file.get(f"{layout.IMAGES}/{version.name}/{layout.ASIDE}")
    try:
        with h5py.File(target, "w", libver=("v110", "v110"), locking=False) as file:
            return copy_root(
                reader.tree(version).id,
                file["/"].id,
                own=layout.RESERVED_ATTRIBUTES,
                aside=None if aside is None else aside.id,
            )
    except (OSError, RuntimeError) as error:
        raise StoreWriteError(f"{target.parent}: cannot be written: {error}") from error
