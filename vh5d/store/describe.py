"""Datasets in words, as their source had them."""

from __future__ import annotations

from dataclasses import dataclass

import h5py

from vh5d.hdf5.dataset_info import Filter, Storage, open_dataset
from vh5d.store.attributes import type_name
from vh5d.store.encoding import RAW
from vh5d.store.images import ObjectEntry

_FILTERS = {
    1: "deflate",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32026: "blosc2",
}  # registered with The HDF Group


@dataclass(frozen=True)
class DatasetDescription:
    """A dataset but for its values.

    Attributes
    ----------
    shape
        None for a null dataspace.
    maxshape
        None in the place of a dimension without limit.
    chunks
        None unless chunked.
    filters
        In the order of writing.
    elsewhere
        Whether its values are in other files: virtual, or external storage.
    """

    type: str
    shape: tuple[int, ...] | None
    maxshape: tuple[int | None, ...] | None
    chunks: tuple[int, ...] | None
    filters: tuple[str, ...]
    elsewhere: bool


def describe(dataset: h5py.Dataset, entry: ObjectEntry | None = None) -> DatasetDescription:
    """Describe a dataset; other files are not opened.

    Parameters
    ----------
    dataset
        Of a version, or of a source.
    entry
        What a version's image says of it: then chunks and filters that are ours are left out.
    """
    opened = open_dataset(dataset.id)
    info = opened.info
    encoded = entry is not None and entry.encoding not in {None, RAW.name}
    cut = entry is not None and entry.padded_to > 0
    return DatasetDescription(
        type=type_name(dataset.dtype),
        shape=info.shape,
        maxshape=info.maxshape,
        chunks=None if cut else info.chunks,
        filters=() if encoded else tuple(map(_filter_name, info.filters)),
        elsewhere=info.storage is Storage.DEFINITION,
    )


def _filter_name(each: Filter) -> str:
    name = _FILTERS.get(each.code)
    if name is None:
        said = each.name.decode("utf-8", "backslashreplace")
        return f"{said} ({each.code})" if said else str(each.code)
    return f"{name} {each.values[0]}" if name == "deflate" and each.values else name
