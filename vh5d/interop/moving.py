"""A file of versioned-hdf5 made one of ours, where it is: its chunks stay where they lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import h5py

from vh5d.hdf5.address import link
from vh5d.interop.chunks import InPlace, Progress, stored_nbytes
from vh5d.interop.theirs import RAW
from vh5d.interop.trees import Trees
from vh5d.store import layout
from vh5d.store.staging import StagingArea
from vh5d.store.tags import put_all
from vh5d.store.versions import current_version, list_versions

ASIDE = "_version_data_of_versioned_hdf5"
MOVER = "moved_by_process"


class Move:
    """Makes a file ours; until `finish` nothing of what was there is gone.

    Parameters
    ----------
    file
        A file of versioned-hdf5, open for writing.

    Attributes
    ----------
    data_version
        The one that the file had.
    lost
        What could not be kept, one line each.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self.data_version = layout.data_version(file)
        self.lost: list[str] = []

    def stage(self, open_area: Callable[[], StagingArea], progress: Progress | None = None) -> None:
        """Build our versions beside theirs, of the same chunks.

        Parameters
        ----------
        open_area
            Opens the commit, once the file has the skeleton of a store.
        progress
            Called with bytes of chunks hashed and to be hashed.
        """
        versions, current = list_versions(self._file), current_version(self._file)
        self._file.move(layout.ROOT, ASIDE)
        self._file[ASIDE].attrs[MOVER] = os.getpid()
        layout.initialise(self._file)
        area, theirs = open_area(), self._file[ASIDE]
        raws = list(raw_datasets(theirs))
        chunks = InPlace(area, self._find, progress, stored_nbytes(raws))
        trees = Trees(area, theirs["versions"], chunks)
        for version in versions:
            trees.add(version)
        self._file[layout.VERSIONS].attrs["current_version"] = current
        put_all(self._file, versions)
        self._keep(raws)
        area.pools.write()
        self.lost = trees.lost

    def _find(self, raw: str) -> h5py.Dataset:
        return self._file[raw.replace(f"/{layout.ROOT}/", f"/{ASIDE}/", 1)]

    def _keep(self, raws: list[h5py.Dataset]) -> None:
        """Link the raw datasets where HDF5 knows them to be in use."""
        spaces = self._file[layout.SPACES]
        number = int(spaces.attrs["next"])
        for raw in raws:
            link(raw.id, spaces.id, str(number).encode())
            number += 1
        spaces.attrs.modify("next", number)

    def finish(self) -> None:
        """Drop what versioned-hdf5 had beside the chunks."""
        del self._file[ASIDE]

    def undo(self) -> list[h5py.Dataset]:
        """Make the file what it was; see `undo`."""
        return undo(self._file)


def undo_left(file: h5py.File) -> None:
    """Undo a move that another process began, and did not live to finish."""
    if ASIDE in file and file[ASIDE].attrs.get(MOVER) != os.getpid():
        undo(file)


def undo(file: h5py.File) -> list[h5py.Dataset]:
    """Undo a move that was not finished, if there is one.

    Returns
    -------
    Datasets to be kept open as long as the file is. HDF5 has object headers in its cache that lie
    in them: nothing else may come to lie there.
    """
    if ASIDE not in file:
        return []
    kept: list[h5py.Dataset] = []
    if layout.ROOT in file:
        if layout.SPACES in file:
            kept += file[layout.SPACES].values()
        if layout.VERSIONS in file:
            del file[layout.VERSIONS]
            file.flush()  # headers whose last links went are not written when their place is free
        del file[layout.ROOT]
    file.move(ASIDE, layout.ROOT)
    file[layout.ROOT].attrs.pop(MOVER, None)
    return kept


def raw_datasets(theirs: h5py.Group) -> Iterator[Any]:
    """Yield the raw datasets of a file of versioned-hdf5.

    Parameters
    ----------
    theirs
        The group with their data.
    """
    for name, member in theirs.items():
        if name == "versions" and isinstance(member, h5py.Group) and RAW not in member:
            continue
        pending = [member]
        while pending:
            each = pending.pop()
            if not isinstance(each, h5py.Group):
                continue
            if isinstance(each.get(RAW), h5py.Dataset):
                yield each[RAW]
            pending += each.values()
