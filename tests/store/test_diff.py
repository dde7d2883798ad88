"""What a diff says, against numpy."""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from vh5d.capture.capture import capture
from vh5d.capture.diff import diff
from vh5d.capture.options import CaptureOptions
from vh5d.store.boxes import Box, element_boxes, merge

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def places(draw: st.DrawFn) -> tuple[tuple[int, ...], np.ndarray]:
    ndim = draw(st.integers(1, 4))
    grid = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    everywhere = list(product(*map(range, grid)))
    chosen = draw(st.lists(st.sampled_from(everywhere), unique=True))
    return grid, np.array(chosen, np.uint64).reshape(-1, ndim)


@given(places())
def test_boxes_cover_the_places_and_nothing_else_each_once(case):
    grid, scaled = case
    low, high = merge(scaled)
    covered = np.zeros(grid, int)
    for start, stop in zip(low.tolist(), high.tolist(), strict=True):
        covered[tuple(map(slice, start, stop))] += 1
    wanted = np.zeros(grid, int)
    wanted[tuple(scaled.T.astype(int))] = 1
    assert np.array_equal(covered, wanted)


def test_neighbours_become_one_box():
    scaled = np.array(list(product(range(3), range(2, 5), range(4))), np.uint64)
    assert element_boxes(scaled, (10, 5, 1), (28, 100, 4)) == [Box((0, 10, 0), (28, 25, 4))]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=3),
       st.integers(1, 50))  # fmt: skip
def test_parts_of_a_box_are_small_and_make_it_up(ranges, most):
    box = Box(tuple(a for a, _ in ranges), tuple(a + n for a, n in ranges))
    covered = np.zeros(box.stop, int)
    for part in box.parts(most):
        assert part.size <= most
        covered[part.slices] += 1
    wanted = np.zeros(box.stop, int)
    wanted[box.slices] = 1
    assert np.array_equal(covered, wanted)


@st.composite
def edits(draw: st.DrawFn) -> dict:
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, 12)) for _ in range(ndim))
    chunks = tuple(draw(st.integers(1, n)) for n in shape)
    return {
        "shape": shape,
        "chunks": chunks,
        "dtype": draw(st.sampled_from(["u1", "<i4", ">i2", "<f8", "<f4", "u8"])),
        "gzip": draw(st.booleans()),
        "compression": draw(st.sampled_from(["auto", "keep"])),
        "grow": tuple(draw(st.integers(0, 4)) for _ in shape),
        "boxes": draw(
            st.lists(
                st.tuples(*(st.tuples(st.integers(0, n - 1), st.integers(1, n)) for n in shape)),
                max_size=3,
            )
        ),
        "seed": draw(st.integers(0, 99)),
    }


def chunk_bytes(array: np.ndarray, chunks: tuple[int, ...], place: tuple[int, ...]) -> bytes:
    """A chunk's bytes as HDF5 stores them, edges filled with zeros."""
    chunk = np.zeros(chunks, array.dtype)
    part = array[tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, chunks, strict=True))]
    chunk[tuple(map(slice, part.shape))] = part
    return chunk.tobytes()


def changed_places(old: np.ndarray, new: np.ndarray, chunks: tuple[int, ...]) -> set:
    def grid(array: np.ndarray) -> set:
        counts = (-(-n // c) for n, c in zip(array.shape, chunks, strict=True))
        return set(product(*map(range, counts)))

    both = grid(old) & grid(new)
    differ = {p for p in both if chunk_bytes(old, chunks, p) != chunk_bytes(new, chunks, p)}
    return differ | (grid(old) ^ grid(new))


@SLOW
@given(edits())
def test_ranges_are_the_chunks_that_changed_and_values_are_numpys(case):
    rng = np.random.default_rng(case["seed"])
    old = (rng.random(case["shape"]) * 200).astype(case["dtype"])
    grown = tuple(map(sum, zip(case["shape"], case["grow"], strict=True)))
    new = np.zeros(grown, case["dtype"])
    new[tuple(map(slice, case["shape"]))] = old
    for box in case["boxes"]:
        part = new[tuple(slice(a, a + n) for a, n in box)]
        part[...] = (rng.random(part.shape) * 200).astype(case["dtype"])
    with tempfile.TemporaryDirectory() as directory:
        source, store = Path(directory, "a.h5"), Path(directory, "s.h5")
        options = CaptureOptions(compression=case["compression"])
        with h5py.File(source, "w") as file:
            file.create_dataset(
                "x",
                data=old,
                chunks=case["chunks"],
                maxshape=(None,) * old.ndim,
                compression="gzip" if case["gzip"] else None,
            )
            file["other"] = 0
        capture(source, store, options=options)
        with h5py.File(source, "r+") as file:
            file["x"].resize(grown)
            file["x"][...] = new
            file["other"][()] = 1  # so that there is a second version in any case
        capture(source, store, options=options)
        between = diff(store, "v1", "v2")
        with h5py.File(source, "r+") as file:
            file["other"][()] = 2
        now = diff(store, "v1")
    for result in (between, now):
        found = {each.path: each for each in result.objects}
        assert found.keys() - {"/x"} == {"/other"}
        changed = changed_places(old, new, case["chunks"])
        if not changed and old.shape == new.shape:
            assert "/x" not in found
            continue
        check_dataset(found["/x"].dataset, old, new, changed, case["chunks"])


def check_dataset(dataset, old, new, changed, chunks) -> None:
    assert (dataset.before.shape, dataset.after.shape) == (old.shape, new.shape)
    assert dataset.changed_chunks == len(changed)
    covered = np.zeros(new.shape, int)
    for box in dataset.ranges:
        covered[box.slices] += 1
    wanted = np.zeros(new.shape, int)
    for place in changed:
        wanted[tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, chunks, strict=True))] = 1
    assert np.array_equal(covered, wanted)
    common = tuple(map(slice, old.shape))
    a, b = old[common].astype("f8"), new[common].astype("f8")
    differs = a != b
    values = dataset.values
    assert values.differing == differs.sum()
    assert values.compared == wanted[common].sum()
    if differs.any():
        assert values.max_abs == pytest.approx(np.abs(a - b).max())
        assert values.mean_before == pytest.approx(a[differs].mean())
        assert values.mean_after == pytest.approx(b[differs].mean())
        lowest = np.argwhere(differs).min(axis=0)
        assert values.bounds.start == tuple(lowest.tolist())
        sample = values.samples[0]
        assert differs[sample.index]
        assert (sample.before, sample.after) == (old[sample.index], new[sample.index])


@pytest.fixture
def versions(tmp_path):
    """Capture a file written by one function and changed by another; return the two diffs."""

    def run(first, second):
        source, store = tmp_path / "a.h5", tmp_path / "s.h5"
        with h5py.File(source, "w") as file:
            first(file)
        capture(source, store)
        with h5py.File(source, "r+") as file:
            second(file)
        against_file = diff(store, "v1")
        capture(source, store)
        between = diff(store, "v1", "v2")
        assert between.objects == against_file.objects
        return {each.path: each for each in between.objects}

    return run


def replace(file: h5py.File, name: str, **kwargs) -> None:
    del file[name]
    file.create_dataset(name, **kwargs)


def test_nothing_is_read_of_chunks_that_are_the_same(tmp_path):
    source, store = tmp_path / "a.h5", tmp_path / "s.h5"
    with h5py.File(source, "w") as file:
        file.create_dataset("x", data=np.arange(10_000), chunks=(10,))
    capture(source, store)
    with h5py.File(source, "r+") as file:
        file["x"][5_005] = 0
    capture(source, store)
    (found,) = diff(store, "v1", "v2").objects
    assert found.dataset.values.compared == 10


def test_integers_differ_by_more_than_their_type_holds(versions):
    lowest, highest = np.iinfo("i8").min, np.iinfo("i8").max
    found = versions(
        lambda f: f.create_dataset("x", data=np.array([lowest, 5], "i8")),
        lambda f: f["x"].write_direct(np.array([highest, 5], "i8")),
    )
    assert found["/x"].dataset.values.max_abs == 2**64 - 1


def test_not_a_number_equals_itself_and_infinity_has_no_distance(versions):
    found = versions(
        lambda f: f.create_dataset("x", data=[np.nan, 1.0, np.inf, 2.0]),
        lambda f: f["x"].write_direct(np.array([np.nan, np.nan, -np.inf, 5.0])),
    )
    values = found["/x"].dataset.values
    assert values.differing == 3
    assert (values.max_abs, values.mean_before, values.mean_after) == (3.0, 2.0, 5.0)
    assert [each.after for each in values.samples] == ["nan", "-inf", 5.0]


def test_strings_and_compounds_show_their_first_differences(versions):
    kind = np.dtype([("a", "i4"), ("b", "f8")])

    def first(file):
        file["s"] = np.array(["a", "b", "c"], h5py.string_dtype())
        file["fixed"] = np.array([b"xx", b"yy"])
        file["c"] = np.array([(1, 1.5), (2, 2.5)], kind)
        file["scalar"] = "old"

    def second(file):
        file["s"][1] = "B"
        file["fixed"][0] = b"zz"
        file["c"][1] = (2, 9.5)
        file["scalar"][()] = "new"

    found = versions(first, second)

    def sample(path):
        (one,) = found[path].dataset.values.samples
        return one.index, one.before, one.after

    assert sample("/s") == ((1,), "b", "B")
    assert sample("/fixed") == ((0,), "xx", "zz")
    assert sample("/c") == ((1,), {"a": 2, "b": 2.5}, {"a": 2, "b": 9.5})
    assert sample("/scalar") == ((), "old", "new")


def test_a_new_type_chunk_shape_or_rank(versions):
    data = np.arange(5000)

    def first(file):
        file["type"] = data.astype("i2")
        file.create_dataset("chunks", data=data, chunks=(100,))
        file["rank"] = data
        file["words"] = data
        file["gone"] = data
        file["kind"] = data

    def second(file):
        replace(file, "type", data=data.astype("f8") + (data == 7))
        replace(file, "chunks", data=data, chunks=(300,))
        replace(file, "rank", data=data.reshape(50, 100))
        replace(file, "words", data=np.array(["x"], h5py.string_dtype()))
        del file["gone"], file["kind"]
        file.create_group("kind")

    found = versions(first, second)
    kind = found["/type"].dataset
    assert (kind.before.type, kind.after.type) == ("int16", "float64")
    assert (kind.values.differing, kind.values.max_abs) == (1, 1.0)
    chunks = found["/chunks"].dataset
    assert (chunks.before.chunks, chunks.after.chunks) == ((100,), (300,))
    assert chunks.values.differing == 0
    assert found["/rank"].dataset.values is None
    assert found["/words"].dataset.unread == "the types have nothing in common"
    assert found["/gone"].what == "removed"
    assert found["/kind"].what == "added"  # and removed, under the same path


def test_attributes_links_groups_and_types(versions):
    def first(file):
        file["g/x"] = 1
        file["g"].attrs["a"] = np.arange(3)
        file["g"].attrs["gone"] = 1
        file["type"] = np.dtype("i4")
        file["soft"] = h5py.SoftLink("/g")
        file["external"] = h5py.ExternalLink("a.h5", "/x")
        file.attrs["prev_version"] = "a name that versions use themselves"

    def second(file):
        file["g"].attrs["a"] = np.arange(4)
        del file["g"].attrs["gone"]
        file["g"].attrs["new"] = "n"
        del file["soft"], file["external"]
        file["soft"] = h5py.SoftLink("/g/x")
        file["external"] = 5
        file.attrs["prev_version"] = "another"
        file["type"].attrs["x"] = 1

    found = versions(first, second)
    changes = {a.name: (a.before and a.before.value, a.after and a.after.value)
               for a in found["/g"].attributes}  # fmt: skip
    assert changes == {"a": ([0, 1, 2], [0, 1, 2, 3]), "gone": (1, None), "new": (None, "n")}
    assert (found["/soft"].link_before, found["/soft"].link_after) == ("/g", "/g/x")
    assert found["/external"].kind == "dataset"
    assert found["/"].attributes[0].after.value == "another"
    assert found["/type"].attributes[0].name == "x"
    assert "/g/x" not in found


def test_references_count_by_where_they_lead(versions):
    def first(file):
        file["x"], file["y"] = np.arange(3), np.arange(4)
        file["refs"] = np.array([file["x"].ref, file["y"].ref], h5py.ref_dtype)
        file["y"].attrs["to"] = file["x"].ref

    def second(file):
        file["x"][0] = 9  # what leads to it does not change
        file["refs"][1] = file["x"].ref

    found = versions(first, second)
    assert found.keys() == {"/x", "/refs"}
    (sample,) = found["/refs"].dataset.values.samples
    assert (sample.before, sample.after) == ("-> /y", "-> /x")


def test_the_same_bytes_behind_other_filters_are_a_change(versions):
    def first(file):
        data = np.arange(8, dtype="i2")
        file.create_dataset("x", data=data, chunks=(8,), shuffle=True)

    def second(file):
        _, stored = file["x"].id.read_direct_chunk((0,))
        # Anew: HDF5 forgets the mask of a chunk that it writes over in place.
        replace(file, "x", shape=(8,), dtype="i2", chunks=(8,), shuffle=True)
        file["x"].id.write_direct_chunk((0,), stored, filter_mask=1)

    dataset = versions(first, second)["/x"].dataset
    assert dataset.changed_chunks == 1
    assert dataset.values.differing > 0


def test_sparse_datasets_are_compared_where_they_are_written(versions):
    def first(file):
        file.create_dataset("s", (10**7,), chunks=(100,), dtype=h5py.string_dtype())
        file.create_dataset("n", (10**6, 10**6), chunks=(10, 10), dtype="i4")
        file["s"][10**6] = "x"

    def second(file):
        file["s"][5] = "y"
        file["n"][999_999, 5] = 1

    found = versions(first, second)
    (sample,) = found["/s"].dataset.values.samples
    assert (sample.index, sample.after) == ((5,), "y")
    assert found["/n"].dataset.ranges == (Box((999_990, 0), (10**6, 10)),)
    assert found["/n"].dataset.values.differing == 1
