"""The datasets of `/spaces`: where in the file chunks, chunk indexes and object headers lie."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.extents import chunk_extents
from vh5d.hdf5.ranges import Ranges, of_extents
from vh5d.hdf5.walk import list_links
from vh5d.store import layout


@dataclass(frozen=True)
class Spaces:
    """Where `/spaces` has its bytes.

    Attributes
    ----------
    names
        (n,) of its datasets; one of chunks, taken over from versioned-hdf5, has many ranges.
    ranges
        (n, 2) of each, relative to the end of the userblock as all addresses are; ascending.
    """

    names: tuple[str, ...]
    ranges: Ranges

    def of(self, names: Collection[str]) -> Ranges:
        """Return where some of the datasets lie."""
        chosen = set(names)
        found: Ranges = self.ranges[np.array([name in chosen for name in self.names], bool)]
        return found

    def untouched(self, live: Ranges) -> tuple[str, ...]:
        """Return the datasets that have nothing of the merged ranges `live` in them."""
        if not len(live):
            return tuple(dict.fromkeys(self.names))
        after = np.searchsorted(live[:, 1], self.ranges[:, 0], side="right")
        nearest = live[np.minimum(after, len(live) - 1), 0]
        free: NDArray[np.bool_] = (after == len(live)) | (nearest >= self.ranges[:, 1])
        used = {self.names[i] for i in np.flatnonzero(~free)}
        return tuple(name for name in dict.fromkeys(self.names) if name not in used)


def spaces_of(file: h5py.File) -> Spaces:
    """Return where the datasets of `/spaces` lie."""
    group, base = file[layout.SPACES], file.userblock_size
    found: list[tuple[int, int, str]] = []
    for link in list_links(group.id):
        name = link.name.decode()
        dataset = group[name]
        start = dataset.id.get_offset()
        if start is not None:
            found.append((int(start) - base, int(start) - base + dataset.nbytes, name))
        elif dataset.chunks is not None:
            chunks = chunk_extents(dataset.id)
            ranges = of_extents(chunks.offsets, chunks.nbytes) - base
            found += [(start, stop, name) for start, stop in ranges.tolist()]
    found.sort()
    ranges = np.array([each[:2] for each in found], np.int64).reshape(-1, 2)
    return Spaces(tuple(each[2] for each in found), ranges)
