"""The chunk index of a dataset: a version-2 B-tree whose versions share nodes.

Its nodes have no back pointers, so two trees may point at the same node: a new version writes the
leaves that changed, the path above them and a header.
"""

from __future__ import annotations

from vh5d.hdf5.chunk_records import ChunkRecords
from vh5d.hdf5.index_build import build
from vh5d.hdf5.index_format import IndexFormat
from vh5d.hdf5.index_read import changes, lookup, read_records
from vh5d.hdf5.index_update import update

__all__ = [
    "ChunkRecords",
    "IndexFormat",
    "build",
    "changes",
    "lookup",
    "read_records",
    "update",
]
