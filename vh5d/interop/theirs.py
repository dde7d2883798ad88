"""What versioned-hdf5 has in a file, as its files of data version 4 show it.

::

    /_version_data
      /versions                 attrs: current_version, data_version
        /__first_version__
        /<name>                 attrs: prev_version, committed, timestamp, and the user's own
          /<path>               virtual dataset; attrs: chunks, raw_data, and the user's own
      /<path>/raw_data          the chunks of all versions, one upon another along the first axis
      /<path>/hash_table        attrs: largest_index; hash and rows of each chunk

A chunk's hash is SHA-256 of its elements up to the dataset's edge and of their shape in words.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.virtual import THIS_FILE, Mappings, is_virtual, mappings_of
from vh5d.store import layout

RAW, HASHES = "raw_data", "hash_table"
CHUNKS_ATTRIBUTE, RAW_ATTRIBUTE, COUNT_ATTRIBUTE = "chunks", "raw_data", "largest_index"
OWN_ATTRIBUTES = (CHUNKS_ATTRIBUTE, RAW_ATTRIBUTE)
HASH_TABLE = np.dtype([("hash", "u1", (32,)), ("shape", "<i8", (2,))])
HASH_TABLE_CHUNK = 4096
DATA_VERSION = 4


@dataclass(frozen=True)
class Placement:
    """Which chunks of a raw dataset a version's dataset has, and where.

    Attributes
    ----------
    scaled
        (n, ndim) uint64, places in the chunk grid, in row-major order.
    numbers
        (n,) int64, which chunk of the raw dataset lies there, counted along its first axis.
    mappings
        The same as HDF5 tells it.
    """

    scaled: NDArray[np.uint64]
    numbers: NDArray[np.int64]
    mappings: Mappings


def raw_of(dataset: h5py.Dataset, path: str) -> str | None:
    """Return the path of the raw dataset that a version's dataset shows; None of other datasets.

    Parameters
    ----------
    dataset
        The dataset.
    path
        Its path in the version.
    """
    if not is_virtual(dataset.id):
        return None
    # Up to release 1.1 it did not say so itself.
    return str(dataset.attrs.get(RAW_ATTRIBUTE, f"/{layout.ROOT}/{path}/{RAW}"))


def placement(dataset: h5py.Dataset, raw: str, chunks: tuple[int, ...]) -> Placement:
    """Return which chunks a version's dataset has.

    Parameters
    ----------
    dataset
        The dataset.
    raw
        The path of its raw dataset.
    chunks
        The chunk shape of that.

    Raises
    ------
    StoreDamagedError
        It is not made as versioned-hdf5 makes them.
    """
    shape = np.array(chunks, np.int64)
    try:
        mappings = mappings_of(dataset.id)
        _check(mappings, raw, shape)
    except ValueError as error:
        raise StoreDamagedError(
            f"{dataset.name}: not as versioned-hdf5 writes it: {error}"
        ) from error
    if not len(mappings):
        return Placement(np.empty((0, len(chunks)), np.uint64), np.empty(0, np.int64), mappings)
    scaled = mappings.starts // shape
    order = np.lexsort(scaled.T[::-1])
    numbers = mappings.source_starts[:, 0] // shape[0]
    return Placement(scaled[order].astype(np.uint64), numbers[order], mappings)


def _check(mappings: Mappings, raw: str, chunks: NDArray[np.int64]) -> None:
    if not len(mappings):
        return
    if mappings.sources != {(THIS_FILE, raw.encode())}:
        raise ValueError("its chunks come from elsewhere")
    first, rest = mappings.source_starts[:, 0], mappings.source_starts[:, 1:]
    if rest.any() or (first % chunks[0]).any() or (mappings.starts % chunks).any():
        raise ValueError("its blocks are no chunks")
    if (mappings.stops - mappings.starts > chunks).any():
        raise ValueError("its blocks are larger than a chunk")


def hash_of(values: NDArray[Any]) -> bytes:
    """Return the hash that versioned-hdf5 knows a chunk by.

    Parameters
    ----------
    values
        The chunk up to the edge of the dataset; strings as bytes objects.
    """
    digest = hashlib.sha256()
    if values.dtype.hasobject:
        for each in values.ravel():
            digest.update(struct.pack("<q", len(each)))
            digest.update(each)
    else:
        digest.update(values.tobytes())
    digest.update(str(values.shape).encode())
    return digest.digest()
