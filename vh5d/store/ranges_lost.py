"""Which values of a store's datasets are damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.store import layout
from vh5d.store.boxes import Box
from vh5d.store.datasets import records_of
from vh5d.store.reader import StoreReader
from vh5d.store.verify import Problem
from vh5d.store.verify_pools import CheckedPool, check_pool


@dataclass(frozen=True)
class Lost:
    """Damaged values.

    Attributes
    ----------
    versions
        The versions that have them.
    path
        Their dataset.
    ranges
        Of each damaged chunk, where it begins and stops along each axis; None when the index of
        the dataset is damaged, so that nobody knows.
    """

    versions: tuple[str, ...]
    path: str
    ranges: tuple[tuple[tuple[int, int], ...], ...] | None


def lost_ranges(reader: StoreReader, problems: Iterable[Problem]) -> Iterator[Lost]:
    """Yield the values that problems of chunks and indexes are about."""
    wanted = [each for each in problems if each.path and each.kind in ("chunk", "index")]
    if not wanted:
        return
    pools = [
        check_pool(reader.read, reader.pools[name], threads=None, advance=lambda _: None)
        for name in reader.pools
    ]
    for each in wanted:
        assert each.path is not None
        tree = reader.file[f"{layout.VERSIONS}/{each.versions[0]}"]
        try:
            boxes = tuple(_damaged(reader, tree[each.path.lstrip("/")], pools))
        except (StoreDamagedError, IndexError, *H5PY_ERRORS):
            yield Lost(each.versions, each.path, None)
            continue
        yield Lost(each.versions, each.path, tuple(_as_ranges(box) for box in boxes))


def _damaged(reader: StoreReader, dataset: h5py.Dataset, pools: list[CheckedPool]) -> Iterator[Box]:
    records = records_of(reader.read, dataset)
    good = np.zeros(len(records), bool)
    for pool in pools:
        good |= pool.rows_at(records.addresses, records.sizes) >= 0
    for scaled in records.scaled[~good].tolist():
        start = tuple(place * size for place, size in zip(scaled, dataset.chunks, strict=True))
        stop = tuple(
            min(first + size, whole)
            for first, size, whole in zip(start, dataset.chunks, dataset.shape, strict=True)
        )
        yield Box(start, stop)


def _as_ranges(box: Box) -> tuple[tuple[int, int], ...]:
    return tuple(zip(box.start, box.stop, strict=True))
