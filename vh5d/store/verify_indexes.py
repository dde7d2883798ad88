"""The chunk indexes of one version after another; those that it shares with the last are known."""

from __future__ import annotations

from typing import Any

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.address import address_of, open_by_path
from vh5d.hdf5.chunk_index import read_records
from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.hdf5.object_header import chunk_index_of
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.walk import LinkKind, list_links
from vh5d.store.images import ObjectEntry
from vh5d.store.reader import StoreReader
from vh5d.store.versions import VersionInfo


class Indexes:
    """Reads indexes without HDF5, which a damaged one may crash.

    Parameters
    ----------
    reader
        The store.
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._tree: Any = None
        self._groups: dict[bytes, dict[bytes, int]] = {}
        self._links: dict[int, dict[bytes, int]] = {}
        self._now: dict[int, ChunkRecords] = {}
        self._before: dict[int, ChunkRecords] = {}

    def begin(self, version: VersionInfo) -> None:
        """Go on to the next version."""
        self._tree = self._reader.tree(version).id
        self._groups = {}
        self._before, self._now = self._now, {}

    def records(self, entry: ObjectEntry) -> ChunkRecords:
        """Return the chunks of a dataset of the version, checked against the index's checksums.

        Raises
        ------
        StoreDamagedError
            The index is damaged, or there is no such dataset.
        """
        address = self._address(entry)
        found = self._now.get(address)
        if found is None:
            found = self._before.get(address)
        if found is None:
            found = read_records(self._reader.read, *chunk_index_of(self._reader.read, address))
        self._now[address] = found
        return found

    def had(self, entry: ObjectEntry) -> bool:
        """Whether the version before had the same dataset, and its index could be read."""
        return self._address(entry) in self._before

    def _address(self, entry: ObjectEntry) -> int:
        parent, _, name = entry.path.rpartition(b"/")
        if parent not in self._groups:
            self._groups[parent] = self._members(parent)
        if name not in self._groups[parent]:
            raise StoreDamagedError("there is no such dataset although its image has one")
        return self._groups[parent][name]

    def _members(self, path: bytes) -> dict[bytes, int]:
        try:
            group = open_by_path(self._tree, path)
            address = address_of(group)
            if address not in self._links:
                links = (each for each in list_links(group) if each.kind is LinkKind.HARD)
                self._links[address] = {each.name: each.address for each in links}
        except H5PY_ERRORS as error:
            raise StoreDamagedError(f"its group cannot be read: {error}") from error
        return self._links[address]
