"""Byte ranges, many at once: (n, 2) int64 arrays of where each starts and where it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranges = NDArray[np.int64]

NONE: Ranges = np.empty((0, 2), np.int64)


def of_extents(starts: NDArray[Any], lengths: NDArray[Any]) -> Ranges:
    """Ranges from where they start and how long they are."""
    first = np.asarray(starts).astype(np.int64)
    return np.stack([first, first + np.asarray(lengths).astype(np.int64)], axis=1)


def merge(ranges: Ranges) -> Ranges:
    """The same bytes in as few ranges as there can be, ascending; empty ones are left out."""
    ranges = ranges[ranges[:, 0] < ranges[:, 1]]
    if not len(ranges):
        return ranges
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reached = np.maximum.accumulate(ranges[:, 1])
    first = np.flatnonzero(np.append(True, ranges[1:, 0] > reached[:-1]))
    last = np.append(first[1:], len(ranges)) - 1
    return np.stack([ranges[first, 0], reached[last]], axis=1)


def subtract(ranges: Ranges, others: Ranges) -> Ranges:
    """The bytes of `ranges` that are not in `others`, merged."""
    ranges, others = merge(ranges), merge(others)
    if not len(ranges) or not len(others):
        return ranges
    # Between two edges every byte is alike: in a range or not, in one of the others or not.
    edges = np.unique(np.concatenate([ranges.ravel(), others.ravel()]))
    starts = edges[:-1]
    keep = _inside(ranges, starts) & ~_inside(others, starts)
    return merge(np.stack([starts[keep], edges[1:][keep]], axis=1))


def intersect(ranges: Ranges, others: Ranges) -> Ranges:
    """The bytes that are in both, merged."""
    ranges = merge(ranges)
    return subtract(ranges, subtract(ranges, others))


def holds(ranges: Ranges, places: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of some places (n,) lie in merged `ranges`."""
    if not len(ranges):
        return np.zeros(len(places), bool)
    return _inside(ranges, np.asarray(places).astype(np.int64))


def whole_blocks(ranges: Ranges, block: int) -> Ranges:
    """What of merged `ranges` is whole blocks of so many bytes."""
    inner = np.stack([-(-ranges[:, 0] // block) * block, ranges[:, 1] // block * block], axis=1)
    return inner[inner[:, 0] < inner[:, 1]]


def total(ranges: Ranges) -> int:
    """How many bytes merged `ranges` have."""
    return int((ranges[:, 1] - ranges[:, 0]).sum())


def _inside(ranges: Ranges, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    at = np.searchsorted(ranges[:, 0], places, side="right") - 1
    return np.asarray((at >= 0) & (places < ranges[at, 1]))
