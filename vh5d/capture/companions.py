"""Files that a source leads to: external links, virtual sources, external storage."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from vh5d.capture.parsed import Parsed
from vh5d.hdf5.address import open_by_address
from vh5d.hdf5.dataset_info import Storage
from vh5d.hdf5.elsewhere import files_of
from vh5d.hdf5.walk import LinkKind

_THIS_FILE = b"."
# H5Pset_virtual: %b stands for the number of the block, %% for a percent sign.
_BLOCK = re.compile(rb"%(?:0\d+|\d*)b")
_MOST_BLOCKS = 100_000


def foreign_files(parsed: Parsed, source: Path) -> list[Path]:
    """Return the other files that a source leads to, where HDF5 would look for them.

    Parameters
    ----------
    parsed
        The source.
    source
        Its path: names that are not absolute begin at its directory.
    """
    own = os.path.abspath(source)  # noqa: PTH100 - resolve() would follow links
    names = dict.fromkeys(name for name in _names(parsed) if name != _THIS_FILE)
    found = dict.fromkeys(path for name in names for path in _paths(name, source.parent))
    return [path for path in found if str(path) != own]


def _names(parsed: Parsed) -> Iterator[bytes]:
    for each in parsed.tree:
        yield from (link.file for link in each.links if link.kind is LinkKind.EXTERNAL)
        if each.storage is Storage.DEFINITION:
            yield from files_of(open_by_address(parsed.file.id, each.address))


def _paths(name: bytes, directory: Path) -> Iterator[Path]:
    if not _BLOCK.search(name.replace(b"%%", b"")):
        yield _locate(name.replace(b"%%", b"%"), directory)
        return
    for block in count():
        path = _locate(_numbered(name, block), directory)
        if block > _MOST_BLOCKS or (block and not path.exists()):
            return
        yield path


def _numbered(name: bytes, block: int) -> bytes:
    return _BLOCK.sub(lambda found: found.group()[:-1] + b"d", name) % block


def _locate(name: bytes, directory: Path) -> Path:
    path = Path(os.path.abspath(directory / os.fsdecode(name)))  # noqa: PTH100 - as above
    # A name that is absolute is looked for beside the file as well (H5Pset_elink_prefix).
    beside = directory / path.name
    return beside if not path.exists() and beside.exists() else path
