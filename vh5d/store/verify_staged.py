"""Checks a version that was staged from Python: its chunk indexes, its chunks, its seals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.chunk_index import read_records
from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.hdf5.object_header import chunk_index_of
from vh5d.hdf5.ranges import Ranges, holds
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.walk import LinkKind, SourceLink, is_group, list_links, open_link
from vh5d.store.reader import StoreReader
from vh5d.store.seals import read_seals, seal_at
from vh5d.store.spaces import spaces_of
from vh5d.store.versions import VersionInfo

Damaged = Callable[[ChunkRecords], int]
_ERRORS = (StoreDamagedError, IndexError, *H5PY_ERRORS)


@dataclass(frozen=True)
class Finding:
    """Something wrong: of which kind, where, what."""

    kind: str
    path: bytes
    message: str


@dataclass
class StagedCheck:
    """Checks versions one after another; what they share is looked at once.

    Parameters
    ----------
    reader
        The store.
    damaged
        Returns how many of the chunks that an index leads to are in no pool, or are damaged.
    """

    reader: StoreReader
    damaged: Damaged
    _known: dict[int, tuple[Finding, ...]] = field(default_factory=dict)

    def check(self, version: VersionInfo) -> Iterator[tuple[str, str, str | None]]:
        """Yield kind, message and path of what is wrong with a version."""
        tree = self.reader.tree(version)
        for each in self._group(tree.id):
            yield each.kind, each.message, os.fsdecode(each.path)
        for path, seal in read_seals(self.reader.file, version.name).items():
            shown = "/" + os.fsdecode(path)
            try:
                same = seal_at(tree, path) == seal
            except _ERRORS as error:
                yield "object", f"it cannot be read: {error}", shown
                continue
            if not same:
                yield "object", "its attributes or values are not those that were committed", shown

    @cached_property
    def _ours(self) -> Ranges:
        ranges: Ranges = spaces_of(self.reader.file).ranges
        return ranges

    def _group(self, group: Any) -> Iterator[Finding]:
        for link in list_links(group):
            if link.kind is not LinkKind.HARD:
                continue
            if link.address not in self._known:
                self._known[link.address] = ()  # it may lead to itself
                self._known[link.address] = tuple(self._member(group, link))
            for each in self._known[link.address]:
                yield Finding(each.kind, b"/" + link.name + each.path, each.message)

    def _member(self, group: Any, link: SourceLink) -> Iterator[Finding]:
        if holds(self._ours, np.array([link.address], np.int64))[0]:
            yield from self._dataset(link.address)
            return
        try:
            opened = open_link(group, link)
            if is_group(opened):
                yield from self._group(opened)
        except H5PY_ERRORS:
            return  # who opens every object tells of it

    def _dataset(self, address: int) -> Iterator[Finding]:
        read = self.reader.read
        try:
            damaged = self.damaged(read_records(read, *chunk_index_of(read, address)))
        except _ERRORS as error:
            yield Finding("index", b"", str(error))
            return
        if damaged:
            yield Finding("chunk", b"", f"chunks damaged or missing: {damaged}")
