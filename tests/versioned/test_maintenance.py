"""Versions deleted, and datasets stored in another way in all versions at once."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vh5d
from vh5d.capture.capture import capture
from vh5d.errors import UsageError, VersionNotFoundError
from vh5d.store import layout
from vh5d.store.reachability import reach_all
from vh5d.store.reader import open_store
from vh5d.versioned.file import VersionedHDF5File
from vh5d.versioned.maintenance import delete_versions, modify_metadata, recreate_dataset


def noise(seed, n):
    return np.random.default_rng(seed).integers(0, 2**60, n)


@contextmanager
def by_path(path):
    yield path


@contextmanager
def by_open(path):
    with vh5d.open(path, "r+") as versioned:
        yield versioned


@contextmanager
def by_h5py(path):
    with h5py.File(path, "r+", libver=layout.LIBVER) as file:
        yield file


@pytest.fixture(params=[by_path, by_open, by_h5py], ids=lambda each: each.__name__)
def handle(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    """Five versions of a dataset, of which each differs from the one before in one place."""
    path = tmp_path / "history.h5"
    with vh5d.open(path, "w") as versioned:
        with versioned.stage_version("v0") as group:
            group.create_dataset(
                "data", data=noise(0, 40_000), chunks=(1000,), maxshape=(None,), fillvalue=7
            )
            group["data"].attrs["unit"] = "mm"
            group["deep/other"] = noise(9, 5000)
            group["words"] = np.array(["a", "b", "c"], object)
            group["scalar"] = 3.5
        for i in range(1, 5):
            with versioned.stage_version(f"v{i}") as group:
                group["data"][5000:8000] = noise(i, 3000)
    return path


def read(path):
    """Return every array of every version."""
    found = {}
    with h5py.File(path) as file:
        versions = file[layout.VERSIONS]
        for name in versions:
            if name != layout.FIRST_VERSION:
                found[name] = arrays(versions[name])
    return found


def arrays(group):
    found = {}

    def visit(name, each):
        if isinstance(each, h5py.Dataset):
            found[name] = each[()]

    group.visititems(visit)
    return found


def same(one, other):
    assert one.keys() == other.keys()
    for version, datasets in one.items():
        assert datasets.keys() == other[version].keys(), version
        for name, values in datasets.items():
            np.testing.assert_array_equal(values, other[version][name], f"{version} {name}")


def used(path):
    os.sync()
    return path.stat().st_blocks * 512


# delete_versions


def test_deleted_versions_are_gone_and_the_others_are_as_they_were(path, handle):
    expected = read(path)
    with handle(path) as f:
        delete_versions(f, ["v1", "v3"])
    del expected["v1"], expected["v3"]
    same(read(path), expected)
    with vh5d.open(path) as versioned:
        assert versioned.versions == ["v0", "v2", "v4"]
        assert versioned.f[layout.VERSIONS]["v4"].attrs["prev_version"] == "v2"


def test_a_name_alone_will_do(path, handle):
    with handle(path) as f:
        delete_versions(f, "v4")
    with vh5d.open(path) as versioned:
        assert versioned.current_version == "v3"


def test_all_versions_may_go(path, handle):
    with handle(path) as f:
        delete_versions(f, [f"v{i}" for i in range(5)])
    with vh5d.open(path, "r+") as versioned:
        assert versioned.versions == []
        assert versioned.current_version == layout.FIRST_VERSION
        with versioned.stage_version("new") as group:
            group["data"] = noise(0, 40_000)
    np.testing.assert_array_equal(read(path)["new"]["data"], noise(0, 40_000))


def test_unknown_versions_are_refused_and_nothing_is_deleted(path, handle):
    with handle(path) as f, pytest.raises(VersionNotFoundError):
        delete_versions(f, ["v1", "nine"])
    assert len(read(path)) == 5


@pytest.mark.parametrize("handle", [by_path, by_open])
def test_space_comes_back_at_once(path, handle):
    before = used(path)
    with handle(path) as f:
        delete_versions(f, ["v1", "v2"])
        assert used(path) < before - 30_000


def test_space_in_a_file_of_others_comes_back_by_pruning(path):
    with by_h5py(path) as f:
        delete_versions(f, ["v1", "v2"])
    before, expected = used(path), read(path)
    vh5d.prune(path, [])
    assert used(path) < before - 20_000
    same(read(path), expected)


def test_staging_goes_on_after_a_deletion_in_the_same_file(path, handle):
    expected = read(path)
    if handle is by_path:
        pytest.skip("it is not open")
    with handle(path) as f:
        versioned = f if isinstance(f, VersionedHDF5File) else VersionedHDF5File(f)
        for i in range(3):
            with versioned.stage_version(f"w{i}") as group:
                group["data"][:2000] = noise(100 + i, 2000)
            delete_versions(f, [f"v{i}"])
            del expected[f"v{i}"]
            # What the deleted version alone had is stored anew.
            with versioned.stage_version(f"x{i}") as group:
                group["data"][5000:8000] = noise(1, 3000)
                group["deep/other"][0] = i
    left = read(path)
    same({name: left[name] for name in expected}, expected)
    for i in range(3):
        np.testing.assert_array_equal(left[f"x{i}"]["data"][5000:8000], noise(1, 3000))
        np.testing.assert_array_equal(left[f"x{i}"]["data"][:2000], noise(100 + i, 2000))
    vh5d.compact(path)
    same(read(path), left)


# modify_metadata


def only(path, name):
    with h5py.File(path) as file:
        versions = file[layout.VERSIONS]
        return {
            version: {
                "chunks": versions[version][name].chunks,
                "dtype": versions[version][name].dtype,
                "fillvalue": versions[version][name].fillvalue,
                "compression": versions[version][name].compression,
                "compression_opts": versions[version][name].compression_opts,
                "shuffle": versions[version][name].shuffle,
                "fletcher32": versions[version][name].fletcher32,
                "maxshape": versions[version][name].maxshape,
            }
            for version in versions
            if version != layout.FIRST_VERSION
        }


@pytest.mark.parametrize(
    "change",
    [
        {"chunks": (700,)},
        {"chunks": (4096,)},
        {"compression": "gzip", "compression_opts": 7},
        {"compression": "lzf", "shuffle": True},
        {"fletcher32": True},
        {"dtype": np.dtype(">f8")},
        {"chunks": (1234,), "compression": "gzip", "dtype": np.dtype("u8"), "fillvalue": 11},
    ],
    ids="-".join,
)
def test_what_is_asked_for_changes_in_all_versions_and_nothing_else(path, handle, change):
    expected, before = read(path), only(path, "data")
    with handle(path) as f:
        modify_metadata(f, "data", **change)
    after = only(path, "data")
    for version in before:
        usual = {"compression_opts": 4} if change.get("compression") == "gzip" else {}
        assert after[version] == {**before[version], **usual, **change}
        assert read(path)[version]["data"].dtype == change.get("dtype", np.dtype("i8"))
    same(read(path), expected)
    with h5py.File(path) as file:
        for version in before:
            assert file[f"{layout.VERSIONS}/{version}/data"].attrs["unit"] == "mm"


def test_versions_share_chunks_afterwards(path):
    with open_store(path) as reader:
        before = reach_all(reader.file, reader.read, reader.pools)
    modify_metadata(path, "data", compression="gzip")
    with open_store(path) as reader:
        after = reach_all(reader.file, reader.read, reader.pools)
        assert int(after.rows["raw"].sum()) == int(before.rows["raw"].sum())
        assert not (reader.pools["raw"].alive & ~after.rows["raw"]).any()
    assert len(after.datasets) == len(before.datasets)


def test_old_chunks_give_their_space_back(path):
    with vh5d.open(path, "r+") as versioned, versioned.stage_version("steps") as group:
        group.create_dataset("steps", data=np.arange(400_000), chunks=(10_000,))
    before = used(path)
    modify_metadata(path, "steps", compression="gzip")
    assert used(path) < before - 2_000_000


def test_values_that_were_the_fill_value_are_the_new_one(path, handle):
    with vh5d.open(path, "r+") as versioned, versioned.stage_version("grown") as group:
        group["data"].resize((45_000,))
        group["data"][44_000] = 7  # written, and the fill value all the same
    with handle(path) as f:
        modify_metadata(f, "data", fillvalue=-1)
    found = read(path)
    assert (found["grown"]["data"][40_000:] == -1).all()
    np.testing.assert_array_equal(found["v0"]["data"], noise(0, 40_000))


def test_compression_can_be_taken_off(path):
    modify_metadata(path, "data", compression="gzip", shuffle=True)
    expected = read(path)
    modify_metadata(path, "data", compression=None, shuffle=False)
    assert only(path, "data")["v3"]["compression"] is None
    assert only(path, "data")["v3"]["shuffle"] is False
    same(read(path), expected)


def test_datasets_that_are_stored_whole(path):
    modify_metadata(path, "scalar", dtype="f4")
    modify_metadata(path, "deep/other", chunks=(100,), compression="gzip")
    modify_metadata(path, "words", fillvalue=b"none")
    found = read(path)
    assert found["v4"]["scalar"] == np.float32(3.5)
    assert found["v4"]["scalar"].dtype == "f4"
    assert [each.decode() for each in found["v2"]["words"]] == ["a", "b", "c"]
    np.testing.assert_array_equal(found["v1"]["deep/other"], noise(9, 5000))
    assert only(path, "deep/other")["v1"]["chunks"] == (100,)
    with h5py.File(path) as file:
        versions = file[layout.VERSIONS]
        assert versions["v0/deep"] == versions["v4/deep"]
        assert versions["v0/deep/other"] == versions["v4/deep/other"]


def test_references_and_scales_lead_to_the_new_dataset(tmp_path):
    path = tmp_path / "scales.h5"
    with vh5d.open(path, "w") as versioned:
        with versioned.stage_version("one") as group:
            group.create_dataset("data", data=np.arange(6000.0), chunks=(1000,))
            group.create_dataset("x", data=np.arange(6000), chunks=(1000,))
            group["x"].make_scale("length")
            group["data"].dims[0].attach_scale(group["x"])
            group["pointer"] = np.array([group["data"].ref], h5py.ref_dtype)
        with versioned.stage_version("two") as group:
            group["data"][0] = 5
    modify_metadata(path, "data", chunks=(500,))
    modify_metadata(path, "x", dtype="f4")
    with h5py.File(path) as file:
        for name in ("one", "two"):
            version = file[layout.VERSIONS][name]
            assert version["data"].dims[0]["length"] == version["x"]
            assert file[version["pointer"][0]] == version["data"]
            assert file[version["x"].attrs["REFERENCE_LIST"][0][0]] == version["data"]


def test_the_order_of_links_stays(tmp_path):
    path = tmp_path / "order.h5"
    names = ["z", "data", "a", "m"]
    with vh5d.open(path, "w") as versioned, versioned.stage_version("one") as group:
        inner = group.create_group("inner", track_order=True)
        for name in names:
            inner.create_dataset(name, data=noise(1, 3000), chunks=(1000,))
    modify_metadata(path, "inner/data", compression="gzip")
    with h5py.File(path) as file:
        assert list(file[f"{layout.VERSIONS}/one/inner"]) == names


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"chunks": (10, 10)}, (ValueError, TypeError)),
        ({"compression": "none of these"}, ValueError),
        ({"dtype": "S3", "scaleoffset": 4}, TypeError),
    ],
)
def test_what_h5py_refuses_is_refused_and_nothing_changes(path, handle, change, error):
    expected, before = read(path), only(path, "data")
    with handle(path) as f, pytest.raises(error):
        modify_metadata(f, "data", **change)
    assert only(path, "data") == before
    same(read(path), expected)


def test_unknown_datasets_are_refused(path, handle):
    with handle(path) as f, pytest.raises(UsageError, match="no version has a dataset 'none'"):
        modify_metadata(f, "none", chunks=(10,))


def test_captured_versions_stay_what_they_were(tmp_path):
    source, store = tmp_path / "source.h5", tmp_path / "store.h5"
    with h5py.File(source, "w") as file:
        file["data"] = np.arange(5000)
    capture(source, store)
    with pytest.raises(UsageError, match="captured from a file"):
        modify_metadata(store, "data", chunks=(100,))


SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 12))
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 39), st.integers(0, 11), st.integers(0, 9)),
        st.tuples(st.just("resize"), SHAPES),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(
            st.just("modify"),
            st.fixed_dictionaries(
                {},
                optional={
                    "chunks": st.tuples(st.integers(1, 20), st.integers(1, 12)),
                    "dtype": st.sampled_from(["i4", "f8", ">i8"]),
                    "fillvalue": st.integers(0, 3),
                    "compression": st.sampled_from([None, "gzip", "lzf"]),
                    "shuffle": st.booleans(),
                },
            ),
        ),
    ),
    min_size=2,
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(EDITS)
def test_any_history_under_any_maintenance_is_as_in_a_dict_of_arrays(edits):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.h5"
        model = {"start": np.arange(20 * 6).reshape(20, 6)}
        fill, latest = 0, "start"
        with vh5d.open(path, "w") as versioned:
            with versioned.stage_version("start") as group:
                group.create_dataset(
                    "x", data=model["start"], chunks=(4, 3), maxshape=(None, None), fillvalue=0
                )
            for i, (kind, *arguments) in enumerate(edits):
                if kind == "delete":
                    names = list(model)
                    gone = names[arguments[0] % len(names)]
                    if len(names) > 1:
                        delete_versions(versioned, gone)
                        del model[gone]
                        latest = versioned.current_version
                elif kind == "modify":
                    change = arguments[0]
                    if change:
                        modify_metadata(versioned, "x", **change)
                        model = {name: modified(x, change, fill) for name, x in model.items()}
                        fill = change.get("fillvalue", fill)
                else:
                    name = f"edit{i}"
                    new = edited(model[latest], kind, arguments, fill)
                    with versioned.stage_version(name) as group:
                        edit_staged(group["x"], kind, arguments)
                    model[name], latest = new, name
                for name, expected in model.items():
                    np.testing.assert_array_equal(versioned[name]["x"][()], expected, name)
                    assert versioned[name]["x"].dtype == expected.dtype
        vh5d.prune(path, [])
        vh5d.compact(path)
        assert vh5d.verify(path).ok
        with h5py.File(path) as file:
            for name, expected in model.items():
                np.testing.assert_array_equal(file[f"{layout.VERSIONS}/{name}/x"][()], expected)


def modified(values, change, fill):
    new = values.astype(change.get("dtype", values.dtype))
    if "fillvalue" in change:
        new[values == fill] = change["fillvalue"]
    return new


def edited(values, kind, arguments, fill):
    if kind == "write":
        new = values.copy()
        row, column, value = arguments
        new[row : row + 3, column:] = value
        return new
    (shape,) = arguments
    new = np.full(shape, fill, values.dtype)
    common = tuple(slice(0, min(a, b)) for a, b in zip(shape, values.shape, strict=True))
    new[common] = values[common]
    return new


def edit_staged(dataset, kind, arguments):
    if kind == "write":
        row, column, value = arguments
        dataset[row : row + 3, column:] = value
    else:
        dataset.resize(arguments[0])


# recreate_dataset


def test_the_history_of_a_dataset_is_made_again_elsewhere(path, tmp_path, handle):
    expected = read(path)
    with vh5d.open(tmp_path / "other.h5", "w") as other:
        with handle(path) as f:
            recreate_dataset(f, "data", other)
        assert other.versions == [f"v{i}" for i in range(5)]
        assert other.current_version == "v4"
        for name in other.versions:
            np.testing.assert_array_equal(other[name]["data"][()], expected[name]["data"])
            assert other[name]["data"].attrs["unit"] == "mm"
            assert other[name]["data"].chunks == (1000,)
    with h5py.File(path) as mine, h5py.File(tmp_path / "other.h5") as theirs:
        for name in expected:
            one, two = (each[layout.VERSIONS][name].attrs for each in (mine, theirs))
            assert one["timestamp"] == two["timestamp"]


def test_a_callback_says_what_the_dataset_shall_be(path, tmp_path):
    expected = read(path)
    seen = []

    def callback(dataset, version):
        seen.append((version, dataset.shape))
        if version == "v1":
            return None
        if version == "v2":
            return dataset
        return dataset[:100] * 2

    with h5py.File(tmp_path / "other.h5", "w", libver=layout.LIBVER) as file:
        recreate_dataset(path, "data", file, callback)
        other = VersionedHDF5File(file)
        assert "data" not in other["v1"]
        np.testing.assert_array_equal(other["v2"]["data"][()], expected["v2"]["data"])
        np.testing.assert_array_equal(other["v4"]["data"][()], expected["v4"]["data"][:100] * 2)
    assert seen == [(f"v{i}", (40_000,)) for i in range(5)]
