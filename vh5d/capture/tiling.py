"""A source cut into pieces: every stored chunk, and everything else as pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.extents import Extents
from vh5d.store.encoding import DEFLATED, RAW, Encoding, compressed
from vh5d.store.pieces import Pieces

PAGE_NBYTES = 4096
LARGE_PAGE_NBYTES = 1 << 16
LARGE_GAP_NBYTES = 1 << 20  # a longer stretch without chunks is cut into large pages


@dataclass(frozen=True)
class Tiling:
    """The pieces of a source, and which of them are whose.

    Attributes
    ----------
    pieces
        All of them.
    chunks
        (k,) the piece of every chunk, the datasets' extents one after another.
    pages
        (m - k,) the pieces that belong to no chunk.
    """

    pieces: Pieces
    chunks: NDArray[np.intp]
    pages: NDArray[np.intp]


@dataclass(frozen=True)
class Stored:
    """The extents of one dataset, and how they are to be kept.

    Attributes
    ----------
    extents
        Where its chunks lie.
    encoding
        How its chunks are kept.
    block
        Of a contiguous dataset, the chunk shape that it is cut into.
    padded_to
        Bytes of a whole chunk, where the last ones may be shorter in the source; else 0.
    """

    extents: Extents
    encoding: Encoding
    block: tuple[int, ...] | None = None
    padded_to: int = 0


def choose_encoding(compression: str, *, filtered: bool, itemsize: int) -> Encoding:
    """Return how chunks are kept: as they came, or compressed by us (design, section 3)."""
    if filtered or compression in {"keep", "none"}:
        return RAW
    return compressed("zstd" if compression == "zstd" else "deflate", itemsize)


def page_encoding(compression: str) -> Encoding:
    """Return how pages are kept."""
    return RAW if compression == "none" else DEFLATED


def tile(size: int, datasets: Sequence[Stored], pages: Encoding) -> Tiling:
    """Cut a file of `size` bytes along its datasets' chunks.

    Raises
    ------
    ValueError
        When a chunk lies past the end of the file.
    """
    encodings = tuple(dict.fromkeys([pages, *(each.encoding for each in datasets)]))
    offsets, nbytes, padded, pools = [], [], [], []
    for each in datasets:
        offsets.append(each.extents.offsets)
        nbytes.append(each.extents.nbytes)
        padded.append(np.maximum(each.extents.nbytes, np.uint64(each.padded_to)))
        pools.append(np.full(len(each.extents), encodings.index(each.encoding)))
    chunk_offsets = _join(offsets)
    chunk_nbytes = _join(nbytes)
    _check_inside(size, chunk_offsets, chunk_nbytes)
    page_offsets, page_nbytes = _complement(size, chunk_offsets, chunk_nbytes)
    return _sorted(
        np.concatenate([chunk_offsets, page_offsets]),
        np.concatenate([chunk_nbytes, page_nbytes]),
        np.concatenate([_join(padded), page_nbytes]),
        np.concatenate([*pools, np.zeros(len(page_offsets), np.int64)]),
        encodings,
        len(chunk_offsets),
    )


def tile_chunks(size: int, datasets: Sequence[Stored]) -> Tiling:
    """Cut out the datasets' chunks, and nothing else of a file of `size` bytes.

    Raises
    ------
    ValueError
        When a chunk lies past the end of the file.
    """
    encodings = tuple(dict.fromkeys(each.encoding for each in datasets))
    nbytes = [each.extents.nbytes for each in datasets]
    padded = [np.maximum(each.extents.nbytes, np.uint64(each.padded_to)) for each in datasets]
    pools = [np.full(len(each.extents), encodings.index(each.encoding)) for each in datasets]
    offsets = _join([each.extents.offsets for each in datasets])
    _check_inside(size, offsets, _join(nbytes))
    kinds = np.concatenate([np.empty(0, np.int64), *pools])
    return _sorted(offsets, _join(nbytes), _join(padded), kinds, encodings, len(offsets))


def tile_like(known: Pieces | None, size: int, pages: Encoding) -> Tiling:
    """Cut a file that is not understood: along the pieces of its last version, then into pages.

    So what a truncated file has in common with the whole one is recognised.
    """
    if known is None:
        return tile(size, (), pages)
    whole = known.offsets + known.nbytes <= size
    offsets, nbytes = known.offsets[whole], known.nbytes[whole]
    rest_offsets, rest_nbytes = _complement(size, offsets, nbytes)
    encodings = tuple(dict.fromkeys([pages, *known.encodings]))
    renumbered = np.array([encodings.index(each) for each in known.encodings], np.int64)
    return _sorted(
        np.concatenate([offsets, rest_offsets]),
        np.concatenate([nbytes, rest_nbytes]),
        np.concatenate([known.padded[whole], rest_nbytes]),
        np.concatenate([renumbered[known.pools[whole]], np.zeros(len(rest_offsets), np.int64)]),
        encodings,
        0,
    )


def _check_inside(size: int, offsets: NDArray[np.uint64], nbytes: NDArray[np.uint64]) -> None:
    # Not by their sum: what a hostile file says of its chunks may go round.
    room = np.uint64(size) - np.minimum(nbytes, np.uint64(size))
    if (nbytes > size).any() or (offsets > room).any():
        msg = "a chunk lies past the end of the file"
        raise ValueError(msg)


def _sorted(
    offsets: NDArray[np.uint64],
    nbytes: NDArray[np.uint64],
    padded: NDArray[np.uint64],
    pools: NDArray[np.int64],
    encodings: tuple[Encoding, ...],
    chunk_count: int,
) -> Tiling:
    order = np.lexsort((nbytes, offsets))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    pieces = Pieces(offsets[order], nbytes[order], padded[order], pools[order], encodings)
    return Tiling(pieces, chunks=place[:chunk_count], pages=np.sort(place[chunk_count:]))


def _complement(
    size: int, offsets: NDArray[np.uint64], nbytes: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Cut what the extents leave of a file at multiples of the page size."""
    order = np.argsort(offsets, kind="stable")
    starts = offsets[order]
    # Extents may overlap (a source may itself share chunks): what counts is how far they reach.
    reach = np.maximum.accumulate(starts + nbytes[order]) if len(starts) else starts
    gap_from = np.concatenate([np.zeros(1, np.uint64), reach])
    gap_to = np.concatenate([starts, np.array([size], np.uint64)])
    real = gap_to > gap_from
    gap_from, gap_to = gap_from[real], gap_to[real]
    large = gap_to - gap_from > LARGE_GAP_NBYTES
    step = np.where(large, LARGE_PAGE_NBYTES, PAGE_NBYTES).astype(np.uint64)
    first = gap_from // step
    counts = ((gap_to + step - np.uint64(1)) // step - first).astype(np.int64)
    owner = np.repeat(np.arange(len(counts)), counts)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    page_start = (first[owner] + nth.astype(np.uint64)) * step[owner]
    begin = np.maximum(page_start, gap_from[owner])
    end = np.minimum(page_start + step[owner], gap_to[owner])
    return begin, end - begin


def _join(arrays: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.uint64)
