"""Where things are in a store, and how a new one begins."""

from __future__ import annotations

from pathlib import Path

import h5py

from vh5d.errors import NotAStoreError
from vh5d.hdf5.handles import has_attribute

ROOT = "_version_data"
VERSIONS = f"{ROOT}/versions"
POOLS = f"{ROOT}/pools"
SPACES = f"{ROOT}/spaces"
IMAGES = f"{ROOT}/images"
FIRST_VERSION = "__first_version__"

# versioned-hdf5 up to 2.6 writes 4, and declines what is later.
DATA_VERSION = 5
# What versioned-hdf5 wrote: 1 up to release 1.3, 2 in 1.4, 3 in 1.5, 4 since 1.6.
THEIR_DATA_VERSIONS = (1, 2, 3, 4)
FORMAT = "vh5d"
FORMAT_VERSION = 1

# Object headers of version 2 and superblocks of version 3: every HDF5 since 1.10 reads them. The
# upper bound is open because a type that a later library wrote can only be copied as it is.
LIBVER = ("v110", "latest")

RESERVED_ATTRIBUTES = ("prev_version", "committed", "timestamp", "sequence")
OWN_ATTRIBUTES = frozenset(name.encode() for name in RESERVED_ATTRIBUTES)
# In an image: the attributes of the source's root whose names those take.
ASIDE = "root_attributes"


def initialise(file: h5py.File) -> None:
    """Give an empty HDF5 file the skeleton of a store."""
    root = file.create_group(ROOT)
    versions = root.create_group("versions", track_order=True)
    versions.attrs["data_version"] = DATA_VERSION
    versions.attrs["format"] = FORMAT
    versions.attrs["format_version"] = FORMAT_VERSION
    versions.attrs["current_version"] = FIRST_VERSION
    versions.attrs["sequence"] = 0
    versions.create_group(FIRST_VERSION)
    root.create_group("pools")
    root.create_group("images")
    spaces = root.create_group("spaces")
    spaces.attrs["next"] = 0


def is_theirs(file: h5py.File) -> bool:
    """Whether a file's versions are of versioned-hdf5's making."""
    versions = file.get(VERSIONS)
    if not isinstance(versions, h5py.Group) or "current_version" not in versions.attrs:
        return False
    return "format" not in versions.attrs and data_version(file) in THEIR_DATA_VERSIONS


def may_be_theirs(file: h5py.File) -> bool:
    """Whether `is_theirs`, of a file that has versions: for when it is asked all the time."""
    return not has_attribute(file.id, b"format", path=VERSIONS.encode()) and is_theirs(file)


def data_version(file: h5py.File) -> int:
    """Return the version of the format, as versioned-hdf5 counts them."""
    return int(file[VERSIONS].attrs.get("data_version", 1))


def check(file: h5py.File, path: Path, *, theirs: bool = False) -> None:
    """Refuse a file that is no store, or one of a format that this program does not know.

    Parameters
    ----------
    file, path
        The file.
    theirs
        Whether one that versioned-hdf5 wrote will do.

    Raises
    ------
    NotAStoreError
        With what it is instead.
    """
    versions = file.get(VERSIONS)
    if not isinstance(versions, h5py.Group):
        raise NotAStoreError(
            f"{path}: an HDF5 file, but not a vh5d store",
            hint="name the source file, or the store that keeps its versions",
        )
    if theirs and is_theirs(file):
        return
    found = data_version(file)
    if versions.attrs.get("format") != FORMAT:
        raise NotAStoreError(
            f"{path}: written by versioned-hdf5 (data version {found}), not by vh5d",
            hint="`vh5d import` makes a store of it",
        )
    format_version = int(versions.attrs["format_version"])
    if found != DATA_VERSION or format_version > FORMAT_VERSION:
        raise NotAStoreError(
            f"{path}: a store of format {found}.{format_version}; "
            f"this program reads up to {DATA_VERSION}.{FORMAT_VERSION}",
            hint="a newer vh5d wrote it: upgrade",
        )
