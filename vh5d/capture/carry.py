"""Chunks of a growing source that need not be read again: cost follows what was added.

A chunk that was whole at the last capture and lies where it lay is taken to be what it was. That
is so while a SWMR writer appends, and wrong when it writes over chunks in their place. Small files
are therefore read whole, and of larger ones a part in turn beside what is new; whoever is found to
rewrite is not trusted any more.
"""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.capture.hashing import Kept
from vh5d.capture.parsed import Parsed
from vh5d.capture.tiling import Stored
from vh5d.hdf5.chunk_records import grid_keys
from vh5d.store.blueprint import read_records_of
from vh5d.store.datasets import Read
from vh5d.store.images import Image, ObjectEntry
from vh5d.store.pieces import Pieces
from vh5d.store.pools import HASH_NBYTES, Pools

#: Bytes of chunks already known that are read again at each capture: a second's work or so.
AUDIT_NBYTES = 1 << 30
#: Chunks, spread over all known ones, that are read besides. A file that was written anew in its
#: place (opened with "w") may have the same chunks where they were, with other content.
SAMPLES = 64


@dataclass(frozen=True)
class Known:
    """What the last version says of a growing source's pieces.

    Attributes
    ----------
    kept
        Hashes and rows of the pieces; of those not known, row -1.
    audited
        (m,) bool, known pieces that are to be read all the same.
    """

    kept: Kept
    audited: NDArray[np.bool_]

    @property
    def carried(self) -> NDArray[np.bool_]:
        """(m,) bool, pieces that need not be read."""
        return np.asarray((self.kept.rows >= 0) & ~self.audited)


@dataclass(frozen=True)
class Last:
    """The last version of a source.

    Attributes
    ----------
    image
        Its image.
    tree
        Its group.
    read, pools
        Those of the store.
    """

    image: Image
    tree: h5py.Group
    read: Read
    pools: Pools


def known_pieces(
    parsed: Parsed, pieces: Pieces, chunks: NDArray[np.intp], last: Last, turn: int
) -> Known:
    """Tell which pieces are those of the last version, going by where they lie.

    Parameters
    ----------
    parsed, pieces, chunks
        The growing source: its datasets, its pieces, and the piece of every chunk.
    last
        The last version, captured from the same file as it grew.
    turn
        Which part of the known pieces is to be read again: any number that grows.
    """
    hashes = np.zeros((len(pieces), HASH_NBYTES), np.uint8)
    rows = np.full(len(pieces), -1, np.int64)
    before = _extents_before(last.image)
    first = 0
    for address, stored in parsed.stored.items():
        own = chunks[first : first + len(stored.extents)]
        first += len(stored.extents)
        each = parsed.tree.objects[address]
        if each.path not in before or each.dataset is None or each.dataset.chunks is None:
            continue
        entry, places = before[each.path]
        if entry.encoding != stored.encoding.name:
            continue
        at, found = _same_places(last, entry, places, stored, each.dataset.chunks)
        pool = last.pools[stored.encoding.name]
        rows[own[at]] = found
        hashes[own[at[found >= 0]]] = pool.hashes_of(found[found >= 0])
    return Known(Kept(hashes, rows), _audited(pieces, rows >= 0, turn))


def _extents_before(image: Image) -> dict[bytes, tuple[ObjectEntry, NDArray[np.uint64]]]:
    found, first = {}, 0
    for entry in image.objects:
        if entry.chunks:
            found[entry.path] = entry, image.offsets[first : first + entry.chunks]
            first += entry.chunks
    return found


def _same_places(
    last: Last,
    entry: ObjectEntry,
    places: NDArray[np.uint64],
    stored: Stored,
    chunks: tuple[int, ...],
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return which chunks lie where they lay, all of them within the extent, and their rows."""
    dataset = last.tree[entry.path.lstrip(b"/")]
    records = read_records_of(last.read, last.tree, entry)
    extents = stored.extents
    _, then, now = np.intersect1d(
        grid_keys(records.scaled),
        grid_keys(extents.scaled),
        assume_unique=True,
        return_indices=True,
    )
    ends = (records.scaled[then] + np.uint64(1)) * np.array(chunks, np.uint64)
    whole = (ends <= np.array(dataset.shape, np.uint64)).all(axis=1)
    whole &= places[then, 0] == extents.offsets[now]
    whole &= places[then, 1] == extents.nbytes[now]
    rows = last.pools[stored.encoding.name].rows_at(records.addresses[then[whole]])
    return now[whole], rows


def _audited(pieces: Pieces, known: NDArray[np.bool_], turn: int) -> NDArray[np.bool_]:
    audited = np.zeros(len(pieces), bool)
    which = np.flatnonzero(known)
    ends = np.cumsum(pieces.nbytes[which], dtype=np.uint64)
    if len(which):
        parts = -(-int(ends[-1]) // AUDIT_NBYTES)
        audited[which] = (ends - np.uint64(1)) // np.uint64(AUDIT_NBYTES) == turn % parts
        step = -(-len(which) // SAMPLES)
        audited[which[turn % step :: step]] = True
    return audited
