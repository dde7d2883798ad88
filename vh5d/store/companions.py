"""The versions of other files that a version of a file goes with."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import h5py
import numpy as np

from vh5d.errors import StoreDamagedError
from vh5d.store import layout
from vh5d.store.datasets import Table, read_table, write_table
from vh5d.store.staging import StagingArea

_NAME = "companions"


@dataclass(frozen=True)
class Companion:
    """A file that a source leads to, as it was kept when the source was captured.

    Attributes
    ----------
    path
        Seen from the source's directory.
    store
        The store of its versions, seen from there too; None when there was no such file.
    version
        The version's name; None when there was no such file.
    digest
        Of its content, as that version has it.
    """

    path: str
    store: str | None = None
    version: str | None = None
    digest: str | None = None


def write_companions(
    area: StagingArea, group: h5py.Group, companions: Sequence[Companion], previous: str
) -> None:
    """Keep with a version's image which versions of other files it goes with."""
    if not companions:
        return
    packed = zlib.compress(json.dumps([astuple(each) for each in companions]).encode(), 6)
    rows = np.frombuffer(packed, np.uint8).reshape(-1, 1)
    write_table(area, group, Table(_NAME, rows), area.file[layout.IMAGES].get(previous))


def read_companions(file: h5py.File, version: str) -> tuple[Companion, ...]:
    """Return the versions of other files that a version goes with.

    Raises
    ------
    StoreDamagedError
        The list cannot be read.
    """
    group = file.get(f"{layout.IMAGES}/{version}")
    if group is None or _NAME not in group:
        return ()
    packed = read_table(group, _NAME, 1, np.uint8).tobytes()
    try:
        return tuple(Companion(*each) for each in json.loads(zlib.decompress(packed)))
    except (zlib.error, ValueError, TypeError) as error:
        message = f"the list of files that version {version!r} goes with is damaged: {error}"
        raise StoreDamagedError(message) from error
