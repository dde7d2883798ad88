"""The chain of a store's versions: each one's link is a digest over all that came before it.

`/_version_data/chain` has a row for every version that was ever committed, those that were dropped
since included: dropping a version takes its content, not the fact that it was there. So history
that was rewritten shows, and pruning does not break what is left.

A link proves the order of versions, their names, times and sequence numbers, and of a captured
version its file: where it came from, and by the digest every byte of it. Of a version that was
staged from Python it proves what is sealed (`vh5d.store.seals`), and no values in chunks. Somebody
who can write the store can also make the whole chain anew: what `verify` says is the head must be
noted elsewhere to prove that nobody did.

Stores that were begun before there were chains have none for their first versions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import blake3
import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.handles import count_rows, open_table, read_rows, write_rows
from vh5d.store import layout
from vh5d.store.seals import seals_digest
from vh5d.store.versions import VersionInfo

NAME = "chain"
# Columns: sequence, whether it was dropped, four words of the entry's digest, four of the link.
SEQUENCE, DROPPED = 0, 1
ENTRY, LINK = slice(2, 6), slice(6, 10)
WIDTH = 10
ROWS_A_CHUNK = 64
_GENESIS = bytes(32)
_FACTS = (
    "source_path",
    "source_size",
    "source_mtime_ns",
    "source_mode",
    "host",
    "cause",
    "digest",
    "kept_as",
)

Rows = NDArray[np.uint64]


@dataclass(frozen=True)
class Break:
    """A place where the chain does not hold.

    Attributes
    ----------
    version
        Its name; None when all that is known of it is gone.
    """

    message: str
    version: str | None = None


class End:
    """The end of a store's chain, where links are added.

    Parameters
    ----------
    root
        The group that holds the chain, open for writing.
    """

    def __init__(self, root: h5py.Group) -> None:
        self._root = root
        self._table = open_table(root.id, NAME.encode())
        self._last: tuple[int, bytes] | None = None  # as long as nobody else adds links

    def append(self, sequence: int, entry: bytes) -> None:
        """Add the link of a version that has just been made.

        Parameters
        ----------
        sequence
            Its number.
        entry
            What it says of itself: see `entry_of`.
        """
        if self._table is None:
            row = _row(sequence, entry, _GENESIS)
            limit, chunks = (None, WIDTH), (ROWS_A_CHUNK, WIDTH)
            table = self._root.create_dataset(NAME, data=row, maxshape=limit, chunks=chunks)
            self._table, self._last = table.id, (1, _bytes(row[0, LINK]))
            return
        count, before = self._last or self._find(sequence)
        row = _row(sequence, entry, before)
        write_rows(self._table, count, row)
        self._last = count + 1, _bytes(row[0, LINK])

    def _find(self, sequence: int) -> tuple[int, bytes]:
        """Return how many links there are, and the last."""
        count = count_rows(self._table)
        # A commit that was taken back may have left its link.
        while count:
            (last,) = read_rows(self._table, count - 1, 1, np.uint64)
            if int(last[SEQUENCE]) < sequence:
                return count, _bytes(last[LINK])
            count -= 1
        return 0, _GENESIS


def mark_dropped(file: h5py.File, sequences: Collection[int]) -> None:
    """Note that versions are gone because somebody asked for it.

    Parameters
    ----------
    file
        The store, open for writing.
    sequences
        The sequence numbers of the versions.
    """
    table = file[layout.ROOT].get(NAME)
    if table is None or not len(sequences):
        return
    rows = table[()]
    gone = np.flatnonzero(np.isin(rows[:, SEQUENCE], np.array(list(sequences), np.uint64)))
    for row in gone.tolist():
        table[row, DROPPED] = 1


def head(file: h5py.File) -> str | None:
    """Return the last link, in hexadecimal; None without a chain."""
    rows = _read(file)
    return _bytes(rows[-1, LINK]).hex() if len(rows) else None


def check(file: h5py.File, versions: Collection[VersionInfo]) -> Iterator[Break]:
    """Yield where the chain does not hold.

    Parameters
    ----------
    file
        The store.
    versions
        All that it has.
    """
    rows = _read(file)
    if not len(rows):
        return
    known = {version.sequence: version for version in versions}
    before, last = _GENESIS, 0
    for row in rows:
        sequence, entry, link = int(row[SEQUENCE]), _bytes(row[ENTRY]), _bytes(row[LINK])
        version = known.pop(sequence, None)
        name = version.name if version is not None else None
        if sequence <= last or link != _link(before, entry):
            yield Break(f"the chain of versions is broken at number {sequence}", name)
        elif version is not None and _entry(file, version.name) != entry:
            yield Break("it is not what the chain of versions says was committed", name)
        elif int(row[DROPPED]) != (version is None):
            what = "is there although it was dropped" if version else "is gone, and was not dropped"
            yield Break(f"version number {sequence} {what}", name)
        before, last = link, sequence
    first = int(rows[0, SEQUENCE])
    for sequence, version in sorted(known.items()):
        if sequence > first:
            yield Break("the chain of versions does not have it", version.name)


def _read(file: h5py.File) -> Rows:
    """Return the rows, but for those of commits that were taken back."""
    table = file[layout.ROOT].get(NAME)
    if table is None:
        return np.empty((0, WIDTH), np.uint64)
    rows: Rows = table[()]
    made = int(file[layout.VERSIONS].attrs["sequence"])
    while len(rows) and int(rows[-1, SEQUENCE]) > made:
        rows = rows[:-1]
    return rows


def _row(sequence: int, entry: bytes, before: bytes) -> Rows:
    digests = np.frombuffer(entry + _link(before, entry), "<u8")
    return np.concatenate([np.array([sequence, 0], np.uint64), digests])[np.newaxis]


def _link(before: bytes, entry: bytes) -> bytes:
    return blake3.blake3(before + entry).digest()


def _entry(file: h5py.File, name: str) -> bytes:
    attributes = file[layout.VERSIONS][name].attrs
    return entry_of(
        name,
        timestamp=str(attributes["timestamp"]),
        sequence=int(attributes["sequence"]),
        image=file[layout.IMAGES].get(name),
        seals=seals_digest(file, name),
    )


def entry_of(
    name: str, *, timestamp: str, sequence: int, image: h5py.Group | None, seals: bytes
) -> bytes:
    """Return the digest of what a version says of itself.

    Parameters
    ----------
    name
        Its name.
    timestamp, sequence
        Its attributes.
    image
        That of a captured version, its attributes set.
    seals
        The digest of the seals that it was made with.
    """
    fields = [name, timestamp, str(sequence)]
    if image is not None:
        fields += [f"{key}={image.attrs[key]}" for key in _FACTS]
    texts = [each.encode("utf-8", "surrogateescape") for each in fields]
    hasher = blake3.blake3(b"vh5d version")
    for text in (*texts, seals):
        hasher.update(len(text).to_bytes(8, "little") + text)
    return hasher.digest()


def _bytes(words: Rows) -> bytes:
    return words.astype("<u8").tobytes()
