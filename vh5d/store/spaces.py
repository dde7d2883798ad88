"""The datasets of `/spaces`: where in the file chunks, chunk indexes and object headers lie."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.extents import occupied
from vh5d.hdf5.ranges import NONE, Ranges
from vh5d.hdf5.walk import list_links
from vh5d.store import layout


@dataclass(frozen=True)
class Spaces:
    """Where `/spaces` has its bytes.

    Attributes
    ----------
    names
        Of its datasets.
    ranges
        (n, 2) byte ranges of theirs, relative to the end of the userblock as all addresses are;
        ascending.
    owners
        (n,) whose each range is, as a position in `names`.
    """

    names: tuple[str, ...]
    ranges: Ranges
    owners: NDArray[np.int64]

    def of(self, names: Collection[str]) -> Ranges:
        """Return where some of the datasets lie."""
        chosen = np.array([name in set(names) for name in self.names], bool)
        found: Ranges = self.ranges[chosen[self.owners]]
        return found

    def untouched(self, live: Ranges) -> tuple[str, ...]:
        """Return the datasets that have nothing of the merged ranges `live` in them."""
        if not len(live):
            return self.names
        after = np.searchsorted(live[:, 1], self.ranges[:, 0], side="right")
        nearest = live[np.minimum(after, len(live) - 1), 0]
        touched = (after < len(live)) & (nearest < self.ranges[:, 1])
        used = set(self.owners[touched].tolist())
        return tuple(name for i, name in enumerate(self.names) if i not in used)


def spaces_of(file: h5py.File) -> Spaces:
    """Return where the datasets of `/spaces` lie.

    Those that we made are contiguous; of chunked ones, which versioned-hdf5 made, each chunk is
    a range.
    """
    group, base = file[layout.SPACES], file.userblock_size
    names = tuple(link.name.decode() for link in list_links(group.id))
    ranges, owners = [NONE], [np.empty(0, np.int64)]
    for i, name in enumerate(names):
        ranges.append(occupied(group.id, name.encode()) - base)
        owners.append(np.full(len(ranges[-1]), i))
    joined = np.concatenate(ranges)
    order = np.argsort(joined[:, 0], kind="stable")
    return Spaces(names, joined[order], np.concatenate(owners)[order])
