"""A staged array does what a dataset of h5py does, whatever is asked of either."""

from __future__ import annotations

from itertools import product

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from vh5d.versioned.array import StagedArray

FILL = -7


@pytest.fixture(scope="module")
def file():
    with h5py.File("oracle", "w", driver="core", backing_store=False) as file:
        yield file


WEIRD = [None, 1.5, True, np.True_, "x", b"x", np.int8(0), np.array(0), [[0]], [0.5], range(2)]


@st.composite
def slices(draw, n):
    end = st.none() | st.integers(-n - 3, n + 2)
    step = draw(st.none() | st.sampled_from([1, 1, 2, 3, 7, 0, -1]))
    return slice(draw(end), draw(end), step)


@st.composite
def lists(draw, n):
    chosen = draw(st.lists(st.integers(-n - 1, n), max_size=4))
    if draw(st.booleans()):
        chosen = sorted({i % n for i in chosen}) if n else []
    return draw(st.sampled_from([list, np.array, tuple]))(chosen)


@st.composite
def masks(draw, n):
    mask = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(mask, bool) if draw(st.booleans()) else mask


@st.composite
def blocks(draw):
    start, stride, count, block = (draw(st.integers(0, 4)) for _ in range(4))
    try:
        return h5py.MultiBlockSlice(start, stride, count, block)
    except ValueError:
        return slice(None)


def axis_indexes(n):
    plain = [st.integers(-n - 1, n), slices(n), slices(n), lists(n), lists(n)]
    return st.one_of(*plain, masks(n), blocks(), st.sampled_from(WEIRD))


@st.composite
def indexes(draw, shape):
    kind = draw(st.sampled_from("aaaaaaaemo"))
    if kind == "e":
        return draw(st.sampled_from([(), Ellipsis, slice(None), (Ellipsis, Ellipsis)]))
    if kind == "m":
        n = int(np.prod(shape))
        density = draw(st.sampled_from([0, 0.1, 0.5, 1]))
        chosen = np.random.default_rng(draw(st.integers(0, 99))).random(n) < density
        mask = chosen.reshape(shape)
        return mask[:-1] if draw(st.integers(0, 9)) == 0 else mask
    rank = draw(st.integers(1, len(shape) + (1 if kind == "o" else 0)))
    axes = [draw(axis_indexes(shape[min(i, len(shape) - 1)])) for i in range(rank)]
    if draw(st.integers(0, 3)) == 0:
        axes.insert(draw(st.integers(0, rank)), Ellipsis)
    return tuple(axes) if len(axes) > 1 or draw(st.booleans()) else axes[0]


def outcome(function):
    try:
        return function()
    except Exception as error:  # noqa: BLE001 - whatever h5py raises
        note(repr(error))
        return type(error)


def same(ours, theirs):
    note(f"{ours!r}\nexpected\n{theirs!r}")
    if isinstance(theirs, type) or isinstance(ours, type):
        assert ours is theirs
    else:
        assert type(ours) is type(theirs)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@st.composite
def values_for(draw, oracle, index):
    kind = draw(
        st.sampled_from(["scalar", "fits", "fits", "row", "wrong", "float", "clip", "list"])
    )
    if any(
        isinstance(a, h5py.MultiBlockSlice) for a in (index if type(index) is tuple else (index,))
    ):
        kind = "fits"  # h5py writes elsewhere when it broadcasts over blocks
    scalar = draw(st.integers(-1000, 1000))
    try:
        shape = np.shape(oracle[index])
    except Exception:  # noqa: BLE001 - whatever h5py raises
        return scalar
    if kind == "row":
        shape = shape[1:]
    if kind == "wrong":
        shape = (*shape, 2)
    data = scalar + np.arange(int(np.prod(shape))).reshape(shape)
    if kind == "float":
        return data + 0.25
    if kind == "clip":
        return data * 2**40
    return {"scalar": scalar, "list": data.tolist()}.get(kind, data)


def staged_from(draw, file, shape, chunks):
    """Return an array over one of all kinds of base, and its base."""
    maxshape = (None,) * len(shape)
    data = np.arange(int(np.prod(shape)), dtype="i4").reshape(shape)
    kind = draw(st.sampled_from(["same", "same", "same", "other", "none", "array"]))
    if kind == "none":
        staged = StagedArray(shape, "i4", chunks, maxshape, FILL)
        staged[...] = data
        return staged, None
    if kind == "array":
        return StagedArray.from_array(data, chunks, maxshape, fillvalue=FILL), None
    below = chunks if kind == "same" else tuple(draw(st.integers(1, 6)) for _ in shape)
    base = file.create_dataset(None, data=data, chunks=below, maxshape=maxshape, fillvalue=FILL)
    return StagedArray(shape, "i4", chunks, maxshape, base=base), base


def padded(dataset, chunks):
    """Return the chunks of a dataset, whole, by position."""
    found = {}
    for scaled in product(*(range(-(-n // c)) for n, c in zip(dataset.shape, chunks, strict=True))):
        values = dataset[
            tuple(slice(i * c, (i + 1) * c) for i, c in zip(scaled, chunks, strict=True))
        ]
        whole = np.full(chunks, FILL, dataset.dtype)
        whole[tuple(map(slice, values.shape))] = values
        found[scaled] = whole
    return found


def committed(staged, base):
    """Return the chunks that the next version has."""
    if base is None or not staged.same_layout_as_base:
        return dict(staged.to_chunks())
    chunks = padded(base, staged.chunks)
    places = np.array(sorted(chunks), np.uint64).reshape(-1, staged.ndim)
    kept = {tuple(p) for p in places[staged.keeps(places)].tolist()}
    dirty = dict(staged.dirty())
    removed = {tuple(p) for p in staged.removed().tolist()}
    assert not removed & set(dirty)
    assert kept == set(chunks) - removed - set(dirty)
    return {place: chunks[place] for place in kept} | dirty


def as_grown(chunks, shape, size):
    """Return what HDF5 would read from these chunks if the dataset were grown to `shape`."""
    whole = np.full([-(-n // c) * c for n, c in zip(shape, size, strict=True)], FILL, "i4")
    for place, values in chunks.items():
        assert values.shape == size
        assert values.flags.c_contiguous
        whole[tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, size, strict=True))] = values
    return whole[tuple(map(slice, shape))]


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_staged_array_follows_a_dataset_through_any_edits(file, data):
    draw = data.draw
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(0 if i else 1, 9)) for i in range(ndim))
    chunks = tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    staged, base = staged_from(draw, file, shape, chunks)
    oracle = file.create_dataset(
        None, data=staged[()], chunks=chunks, maxshape=(None,) * ndim, fillvalue=FILL
    )
    for _ in range(draw(st.integers(1, 7))):
        step = draw(st.sampled_from(["read", "read", "write", "write", "write", "resize"]))
        if step == "resize":
            axis = draw(st.none() | st.integers(-1, ndim))
            size = draw(st.integers(-1, 12))
            if axis is None:
                size = tuple(draw(st.integers(0, 12)) for _ in range(ndim))
            note(f"resize({size}, {axis})")
            same_change = outcome(lambda a=axis, s=size: oracle.resize(s, a))
            assert outcome(lambda a=axis, s=size: staged.resize(s, a)) is same_change
            assert staged.shape == oracle.shape
            continue
        index = draw(indexes(oracle.shape))
        if step == "read":
            same(outcome(lambda i=index: staged[i]), outcome(lambda i=index: oracle[i]))
            continue
        value = draw(values_for(oracle, index))

        def write(array, index=index, value=value):
            array[index] = value

        assert outcome(lambda: write(staged)) is outcome(lambda: write(oracle))
    same(staged[()], oracle[()])
    chunks_now = committed(staged, base)
    if base is not None and staged.same_layout_as_base and not staged.changed:
        assert not list(staged.dirty())
        assert not len(staged.removed())
    extent = tuple((-(-n // c) + 1) * c for n, c in zip(oracle.shape, chunks, strict=True))
    oracle.resize(extent)
    np.testing.assert_array_equal(as_grown(chunks_now, extent, chunks), oracle[()])
    staged.resize(extent)
    same(staged[()], oracle[()])
    staged.close()
