"""What is in use of a store, written into an empty one: chunks, then indexes, then objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.address import address_of, open_by_address
from vh5d.hdf5.block_image import UNDEFINED
from vh5d.hdf5.dataset_spec import of_dataset
from vh5d.hdf5.index_copy import copy_indexes
from vh5d.hdf5.virtual import chunks_are_portable
from vh5d.store import layout
from vh5d.store.datasets import Index, Read, Table, stage_header, write_table
from vh5d.store.images import PAGE_POOL, PAGE_ROW
from vh5d.store.pools import ADDRESS, MASK, NBYTES, STORED, Pools
from vh5d.store.reachability import PAGES, Reached
from vh5d.store.staging import Medium, StagingArea
from vh5d.store.transplant import Transplant
from vh5d.store.versions import list_versions

Progress = Callable[[int, int], None]


def shared_datasets(source: h5py.File, reached: Reached) -> list[int]:
    """Return the addresses of the datasets whose chunks lie in pools in every file that has them.

    Strings that were taken over from versioned-hdf5 have chunks that point into the heaps of the
    file. In another file they are datasets of their own.
    """
    return [
        address
        for address in reached.datasets
        if chunks_are_portable(open_by_address(source.id, address))
    ]


class Rewriting:
    """Writes what is in use of a store into an empty file.

    Parameters
    ----------
    source
        The store.
    read
        Reads its bytes at an address.
    pools
        Its pools.
    reached
        What is in use.
    progress
        Called with bytes of chunks done and in all.
    """

    def __init__(
        self,
        source: h5py.File,
        read: Read,
        pools: Pools,
        reached: Reached,
        progress: Progress | None = None,
    ) -> None:
        self._source, self._read, self._pools = source, read, pools
        self._reached, self._progress = reached, progress
        self._rows: dict[str, NDArray[np.int64]] = {}

    def write(
        self, target: h5py.File, medium: Medium, check: Callable[[], None] = lambda: None
    ) -> list[str]:
        """Write it all; return what could not be copied, one line each.

        Parameters
        ----------
        target
            The new file, empty.
        medium
            Its bytes.
        check
            Raises if going on would be in vain.
        """
        transplant = Transplant(self._source, target, check)
        area = StagingArea(target, medium)
        self._copy_chunks(area)
        pages = self._pages()
        transplant.skipped |= {address_of(table.id) for table in pages.values()}
        transplant.made |= self._copy_datasets(area, transplant.skipped)
        transplant.run()
        self._renumber(area, pages)
        area.chunks.flush()
        area.pools.write()
        return transplant.lost

    def _copy_chunks(self, area: StagingArea) -> None:
        """Copy the chunks of live rows in the order in which they lie in the file."""
        names = list(self._reached.rows)
        live = [np.flatnonzero(self._reached.rows[name]) for name in names]
        tables = [self._pools[name].rows(rows) for name, rows in zip(names, live, strict=True)]
        for name in names:
            self._rows[name] = np.full(len(self._pools[name]), -1, np.int64)
        if not names:
            return
        pool_of = np.repeat(np.arange(len(names)), [len(rows) for rows in live])
        row_of, table = np.concatenate(live), np.concatenate(tables)
        done, nbytes = 0, int(table[:, STORED].sum())
        for i in np.argsort(table[:, ADDRESS], kind="stable").tolist():
            name, row = names[pool_of[i]], int(row_of[i])
            address, stored, mask, source_nbytes = table[
                i, [ADDRESS, STORED, MASK, NBYTES]
            ].tolist()
            data = self._read(address, stored)
            if len(data) != stored:
                raise StoreDamagedError(f"the file ends within the chunk at {address}")
            digest = self._pools[name].hashes[row].tobytes()
            chosen = area.pools[name]
            self._rows[name][row] = area.chunks.add(chosen, digest, data, mask, source_nbytes)
            done += stored
            if self._progress is not None:
                self._progress(done, nbytes)
        area.chunks.flush()

    def _moves(self, area: StagingArea) -> Callable[[NDArray[np.uint64]], NDArray[np.uint64]]:
        """Return what says where chunks are now."""
        old, new = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for name, rows in self._rows.items():
            live = np.flatnonzero(rows >= 0)
            old.append(self._pools[name].rows(live)[:, ADDRESS])
            new.append(area.pools[name].rows(rows[live])[:, ADDRESS])
        before, after = np.concatenate(old), np.concatenate(new)
        order = np.argsort(before)
        before, after = before[order], after[order]

        def move(addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
            at = np.minimum(np.searchsorted(before, addresses), len(before) - 1)
            known = before[at] == addresses if len(before) else np.zeros(len(addresses), bool)
            if not known.all():
                where = int(addresses[~known][0])
                raise StoreDamagedError(f"the chunk at {where} is in no pool")
            return after[at]

        return move

    def _copy_datasets(self, area: StagingArea, skipped: set[int]) -> dict[int, int]:
        """Copy all datasets whose chunks lie in pools; return where each is now."""
        roots = {UNDEFINED: UNDEFINED}
        move = self._moves(area)
        for family in self._reached.families:
            roots |= copy_indexes(self._read, family, move, area.image)
        shared = shared_datasets(self._source, self._reached)
        addresses = [each for each in shared if each not in skipped]
        headers = []
        for address in addresses:
            index = self._reached.datasets[address]
            spec = of_dataset(open_by_address(self._source.id, address))
            headers.append(stage_header(area, spec, Index(roots[index.root], index.format)))
        placed = area.place(headers)
        return {
            address: address_of(dataset.id)
            for address, dataset in zip(addresses, placed, strict=True)
        }

    # Images name pages by their rows in pools

    def _pages(self) -> dict[str, h5py.Dataset]:
        """Return the page tables of all images, those of older versions first."""
        images = self._source[layout.IMAGES]
        names = [version.name for version in list_versions(self._source)]
        ordered = [*names, *(name for name in images if name not in set(names))]
        return {
            name: images[name][PAGES]
            for name in ordered
            if name in images and PAGES in images[name]
        }

    def _renumber(self, area: StagingArea, tables: dict[str, h5py.Dataset]) -> None:
        images, previous = area.file[layout.IMAGES], None
        known: dict[tuple[int, tuple[str, ...]], h5py.Dataset] = {}
        for name, table in tables.items():
            pools = tuple(str(each) for each in images[name].attrs["pools"])
            key = (address_of(table.id), pools)
            if key in known:
                images[name][PAGES] = known[key]
            else:
                rows = self._renumbered(table[()], pools)
                write_table(area, images[name], Table(PAGES.decode(), rows), previous)
                known[key] = images[name][PAGES]
            previous = images[name]

    def _renumbered(self, pages: NDArray[Any], pools: tuple[str, ...]) -> NDArray[np.uint64]:
        renumbered: NDArray[np.uint64] = pages.copy()
        for number, name in enumerate(pools):
            of_pool = np.flatnonzero(pages[:, PAGE_POOL] == number)
            rows = self._rows[name][pages[of_pool, PAGE_ROW].astype(np.int64)]
            renumbered[of_pool, PAGE_ROW] = rows.astype(np.uint64)
        return renumbered
