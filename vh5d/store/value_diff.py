"""How the values of two datasets differ, within boxes of elements."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vh5d.store.attributes import plain
from vh5d.store.boxes import Box

SAMPLES = 5
PART_NBYTES = 16 << 20


@dataclass(frozen=True)
class Sample:
    """An element that differs."""

    index: tuple[int, ...]
    before: Any
    after: Any


@dataclass(frozen=True)
class ValueDiff:
    """How values differ.

    Attributes
    ----------
    compared
        How many elements were read on both sides.
    differing
        How many of them differ.
    max_abs
        The largest absolute difference; None when the elements are no numbers.
    mean_before, mean_after
        Of the elements that differ and are finite on both sides; None when there are none.
    bounds
        The smallest box that holds all that differ; None when none does.
    samples
        The first ones that differ.
    """

    compared: int
    differing: int
    max_abs: float | int | None = None
    mean_before: float | None = None
    mean_after: float | None = None
    bounds: Box | None = None
    samples: tuple[Sample, ...] = ()


@dataclass
class _Tally:
    compared: int = 0
    differing: int = 0
    finite: int = 0
    max_abs: float | int | None = None
    sum_before: float = 0.0
    sum_after: float = 0.0
    bounds: Box | None = None
    samples: list[Sample] = field(default_factory=list)

    def result(self) -> ValueDiff:
        n = self.finite
        return ValueDiff(
            compared=self.compared,
            differing=self.differing,
            max_abs=self.max_abs,
            mean_before=_finite(self.sum_before / n) if n else None,
            mean_after=_finite(self.sum_after / n) if n else None,
            bounds=self.bounds,
            samples=tuple(self.samples),
        )


def compare_values(before: h5py.Dataset, after: h5py.Dataset, boxes: Iterable[Box]) -> ValueDiff:
    """Compare two datasets of one rank and element type within boxes that both of them hold.

    Raises
    ------
    OSError
        The values cannot be read: a filter is missing.
    """
    tally = _Tally()
    most = max(1, PART_NBYTES // max(1, before.dtype.itemsize))
    for box in boxes:
        for part in box.parts(most):
            old, new = _read(before, part), _read(after, part)
            _count(tally, old, new, part, before.file, after.file)
    return tally.result()


def _read(dataset: h5py.Dataset, part: Box) -> NDArray[Any]:
    value = dataset[part.slices]
    if part.start or not isinstance(value, np.ndarray):
        return np.asarray(value, dataset.dtype if dataset.dtype.hasobject else None)
    one = np.empty(1, object)  # a scalar dataset of one array
    one[0] = value
    return one.reshape(())


def _count(
    tally: _Tally,
    old: NDArray[Any],
    new: NDArray[Any],
    part: Box,
    file_before: h5py.File,
    file_after: h5py.File,
) -> None:
    unequal = ~_equal(old, new, file_before, file_after)
    # An element of an array type is one element.
    rank = len(part.start)
    differs = unequal.any(axis=tuple(range(rank, old.ndim))) if old.ndim > rank else unequal
    tally.compared += differs.size
    places = np.argwhere(differs)
    if not len(places):
        return
    tally.differing += len(places)
    tally.bounds = _bounds(tally.bounds, places + np.array(part.start, np.intp))
    for place in places[: SAMPLES - len(tally.samples)].tolist():
        index = tuple(a + i for a, i in zip(part.start, place, strict=True))
        at = tuple(place)
        tally.samples.append(Sample(index, plain(old[at], file_before), plain(new[at], file_after)))
    if old.dtype.kind in "biufc" and old.dtype.names is None:
        _measure(tally, old[unequal], new[unequal])


def _bounds(known: Box | None, places: NDArray[np.intp]) -> Box:
    low, high = places.min(axis=0), places.max(axis=0) + 1
    if known is not None:
        low, high = np.minimum(low, known.start), np.maximum(high, known.stop)
    return Box(tuple(low.tolist()), tuple(high.tolist()))


def _measure(tally: _Tally, old: NDArray[Any], new: NDArray[Any]) -> None:
    largest: float | int | None
    if old.dtype.kind in "biu" and old.dtype == new.dtype:
        largest = _integer_distance(old, new)
    else:
        both = np.isfinite(old) & np.isfinite(new)
        old, new = old[both], new[both]
        with np.errstate(over="ignore"):
            largest = float(np.abs(_wide(new) - _wide(old)).max()) if len(old) else None
    if largest is not None and not math.isfinite(largest):
        largest = None
    if largest is not None:
        tally.max_abs = largest if tally.max_abs is None else max(tally.max_abs, largest)
    if "c" not in {old.dtype.kind, new.dtype.kind}:
        tally.finite += len(old)
        with np.errstate(over="ignore"):
            tally.sum_before += float(np.sum(old, dtype=np.float64))
            tally.sum_after += float(np.sum(new, dtype=np.float64))


def _wide(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def _integer_distance(old: NDArray[Any], new: NDArray[Any]) -> int:
    if old.dtype.kind == "b":
        return 1
    # A difference may need one bit more than the type has: modulo 2^n it is right without a sign.
    unsigned = np.dtype(f"u{old.dtype.itemsize}")
    a, b = (each.astype(each.dtype.newbyteorder("=")) for each in (old, new))
    distance = np.where(
        a > b, a.view(unsigned) - b.view(unsigned), b.view(unsigned) - a.view(unsigned)
    )
    return int(distance.max())


def _equal(
    old: NDArray[Any], new: NDArray[Any], file_before: h5py.File, file_after: h5py.File
) -> NDArray[np.bool_]:
    """Compare element by element; not-a-number equals itself."""
    if old.dtype.kind in "fc" and old.dtype.names is None:
        same: NDArray[np.bool_] = (old == new) | ((old != old) & (new != new))  # noqa: PLR0124
        return same
    if old.dtype.kind in "biuS":
        return np.asarray(old == new)
    if old.dtype.kind == "V" and not old.dtype.hasobject:
        return _same_bytes(old, new)
    flat = [
        plain(a, file_before) == plain(b, file_after)
        for a, b in zip(old.reshape(-1), new.reshape(-1), strict=True)
    ]
    return np.array(flat, bool).reshape(old.shape)


def _same_bytes(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
    width = old.dtype.itemsize
    a, b = (
        np.frombuffer(np.ascontiguousarray(each).tobytes(), np.uint8).reshape(*old.shape, width)
        for each in (old, new)
    )
    return np.asarray((a == b).all(axis=-1))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
