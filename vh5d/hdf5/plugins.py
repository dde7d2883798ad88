"""Filter plugins: shared libraries that HDF5 would load because a file names them."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
from h5py import h5pl, h5z


def forget_plugin_directories() -> None:
    """Have HDF5 load no plugin from any directory; filters that are registered stay.

    ``HDF5_PLUGIN_PATH`` and HDF5's own default name the directories. Chunks are copied as they
    are, so a capture needs no filter but those in HDF5 itself.
    """
    while h5pl.size():
        h5pl.remove(0)


def missing_filters(file: h5py.File) -> Iterator[tuple[int, str, str]]:
    """Filters of a file's datasets that HDF5 cannot undo here: code, name, dataset."""
    found: list[tuple[int, str, str]] = []

    def look(path: str, each: object) -> None:
        if isinstance(each, h5py.Dataset):
            pipeline = each.id.get_create_plist()
            for number in range(pipeline.get_nfilters()):
                code, _, _, name = pipeline.get_filter(number)
                if not h5z.filter_avail(code):
                    found.append((code, name.decode("utf-8", "replace"), path))

    file.visititems(look)
    yield from found
