"""What a store still needs: all that its versions and their images lead to, each thing once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.address import address_of
from vh5d.hdf5.header_messages import header_nbytes
from vh5d.hdf5.index_reach import IndexFamily, reach
from vh5d.hdf5.object_header import chunk_index_of
from vh5d.hdf5.ranges import NONE, Ranges, holds, intersect, merge, of_extents, subtract
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links, open_link
from vh5d.store import layout
from vh5d.store.datasets import Index, Read
from vh5d.store.images import PAGE_POOL, PAGE_ROW
from vh5d.store.pools import ADDRESS, STORED, Pools
from vh5d.store.spaces import Spaces, spaces_of

PAGES = b"pages"


@dataclass(frozen=True)
class Reached:
    """What versions and images lead to.

    Attributes
    ----------
    spaces
        Where `/spaces` lies.
    live
        (n, 2) merged byte ranges inside `/spaces` that are in use.
    datasets
        By the address of its header, the index of each dataset whose header lies in `/spaces`.
    families
        The nodes of all these indexes.
    rows
        By the name of its pool, (len(pool),) whether each row's chunk is in use.
    """

    spaces: Spaces
    live: Ranges
    datasets: dict[int, Index]
    families: tuple[IndexFamily, ...]
    rows: dict[str, NDArray[np.bool_]]

    @property
    def dead(self) -> Ranges:
        """Byte ranges of `/spaces` that nothing leads to, merged."""
        return subtract(self.spaces.ranges, self.live)


def reach_all(
    file: h5py.File,
    read: Read,
    pools: Pools,
    *,
    without: Collection[str] = (),
    check: Callable[[], None] = lambda: None,
) -> Reached:
    """Find everything that the objects of a store need.

    Groups, datasets, index nodes and page tables that versions share are looked at once.

    Parameters
    ----------
    file
        The store.
    read
        Reads its bytes at an address.
    pools
        Its pools.
    without
        Names of versions that do not count, nor do their images. Everything else does that the
        file's root group leads to, also what lies outside `/_version_data`.
    check
        Is called again and again; raises if going on would be in vain.

    Raises
    ------
    StoreDamagedError
        An object header or a chunk index is not what was written: what it leads to is unknown.
    """
    spaces = spaces_of(file)
    walk = _Walk(file, read, spaces, frozenset(name.encode() for name in without), check)
    walk.run()
    pages = _Pages({name: np.zeros(len(pools[name]), bool) for name in pools})
    images = file[layout.IMAGES]
    for link in list_links(images.id):
        name = link.name.decode()
        if name not in without:
            check()
            pages.visit(images[name])
    families, addresses, sizes = [], [NONE[:, 0].astype(np.uint64)], [NONE[:, 0].astype(np.uint64)]
    for family, found, nbytes in reach(
        read, ((each.root, each.format) for each in walk.datasets.values())
    ):
        check()
        families.append(family)
        addresses.append(found)
        sizes.append(nbytes)
    chunks = np.concatenate(addresses)
    live = [walk.headers, of_extents(chunks, np.concatenate(sizes))]
    live += [family.blocks for family in families]
    live += _mark_rows(pools, pages.rows, chunks)
    return Reached(
        spaces=spaces,
        live=intersect(merge(np.concatenate(live)), spaces.ranges),
        datasets=walk.datasets,
        families=tuple(families),
        rows=pages.rows,
    )


def _mark_rows(
    pools: Pools, rows: dict[str, NDArray[np.bool_]], chunks: NDArray[np.uint64]
) -> Iterator[Ranges]:
    """Mark the rows whose chunks indexes lead to; yield where all chunks of live rows lie."""
    for name, live in rows.items():
        found = pools[name].rows_at(chunks)
        live[found[found >= 0]] = True
        table = pools[name].rows(np.flatnonzero(live))
        yield of_extents(table[:, ADDRESS], table[:, STORED])


@dataclass
class _Walk:
    file: h5py.File
    read: Read
    spaces: Spaces
    without: frozenset[bytes]
    check: Callable[[], None]
    seen: set[int] = field(default_factory=set)
    datasets: dict[int, Index] = field(default_factory=dict)

    def run(self) -> None:
        """Walk from the root group, past what is only there to hold bytes."""
        root = self.file["/"].id
        self.seen = {address_of(self.file[name].id) for name in (layout.POOLS, layout.SPACES)}
        thinned = {address_of(self.file[name].id) for name in (layout.VERSIONS, layout.IMAGES)}
        pending = [(root, address_of(root))]
        while pending:
            group, address = pending.pop()
            self.check()
            for link, ours in self._new_links(group, self.without if address in thinned else ()):
                if link.address in self.seen:
                    continue  # twice in this group
                self.seen.add(link.address)
                if ours:
                    self.datasets[link.address] = Index(*chunk_index_of(self.read, link.address))
                elif is_group(opened := open_link(group, link)):
                    pending.append((opened, link.address))

    def _new_links(
        self, group: Any, without: Collection[bytes]
    ) -> Iterator[tuple[SourceLink, bool]]:
        """Yield hard links to objects not met yet, and whether their headers are in `/spaces`."""
        links = [
            link
            for link in list_links(group)
            if link.kind is LinkKind.HARD
            and link.address not in self.seen
            and link.name not in without
        ]
        addresses = np.array([link.address for link in links], np.int64)
        ours = holds(self.spaces.ranges, addresses)
        yield from zip(links, ours.tolist(), strict=True)

    @property
    def headers(self) -> Ranges:
        """Where the object headers lie that are in `/spaces`."""
        starts = np.array(list(self.datasets), np.int64)
        sizes = [header_nbytes(self.read, each) for each in self.datasets]
        return of_extents(starts, np.array(sizes, np.int64))


@dataclass
class _Pages:
    rows: dict[str, NDArray[np.bool_]]
    seen: set[tuple[int, tuple[str, ...]]] = field(default_factory=set)

    def visit(self, image: h5py.Group) -> None:
        """Mark the rows of the pages that an image names."""
        table = image.get(PAGES)
        if table is None:
            return
        pools = tuple(str(name) for name in image.attrs["pools"])
        key = (address_of(table.id), pools)
        if key in self.seen:
            return
        self.seen.add(key)
        pages = table[()]
        for number, name in enumerate(pools):
            of_pool = pages[pages[:, PAGE_POOL] == number, PAGE_ROW]
            if len(of_pool):
                self.rows[name][of_pool.astype(np.int64)] = True
