"""What versions share, what is left when something fails, which files serve."""

from __future__ import annotations

import io
import shutil
import subprocess

import h5py
import numpy as np
import pytest

import vh5d
from vh5d import CaptureOptions, VersionedHDF5File
from vh5d.store.pools import _append as append
from vh5d.store.pools import hash_chunk


def size(vf):
    vf.f.flush()
    return vf.f.id.get_filesize()


def content(group):
    """Everything in a version, as plain h5py sees it."""
    found = {}

    def note(name, obj):
        value = obj[()] if isinstance(obj, h5py.Dataset) else None
        found[name] = value.tolist() if value is not None else None

    h5py.Group(group.id).visititems(note)
    return found


# What versions share


def test_what_did_not_change_is_the_same_object(vf):
    with vf.stage_version("v1") as group:
        group["a/x"] = np.arange(10_000)
        group["a/text"] = "text"
        group["b/c/y"] = np.arange(10_000)
        group["z"] = [1, 2]
    with vf.stage_version("v2") as group:
        assert group["b/c/y"][0] == 0
        group["a/x"][0] = -1
    one, two = vf["v1"], vf["v2"]
    assert two["b"] == one["b"]
    assert two["z"] == one["z"]
    assert two["a/text"] == one["a/text"]
    assert two["a"] != one["a"]
    assert two["a/x"] != one["a/x"]


def test_what_was_read_or_set_to_what_it_was_is_the_same_object(vf):
    with vf.stage_version("v1") as group:
        group["a/x"] = np.arange(10_000)
        group["a/text"] = np.array(["x", "y"], object)
        group["a"].attrs["unit"] = "mm"
    with vf.stage_version("v2") as group:
        group["a/x"][:] = np.arange(10_000)
        group["a/x"].resize(20_000, axis=0)
        group["a/x"].resize(10_000, axis=0)
        group["a/text"][0] = "x"
        group["a"].attrs["unit"] = "mm"
        group["a/new"] = 1
        del group["a/new"]
    assert vf["v2"]["a"] == vf["v1"]["a"]


def test_a_version_in_which_nothing_changed_costs_a_group(vf):
    with vf.stage_version("v1") as group:
        for i in range(50):
            group[f"g{i}/x"] = np.arange(1000)
    before = size(vf)
    for i in range(10):
        with vf.stage_version(f"n{i}"):
            pass
    assert size(vf) - before < 10 * 8192


def test_one_chunk_changed_costs_a_few_kilobytes(vf):
    with vf.stage_version("v1") as group:
        data = np.random.default_rng(0).integers(0, 2**60, 3_200_000)
        group.create_dataset("x", data=data, chunks=(100,))
    with vf.stage_version("v2") as group:
        group["x"][5] = 0
    before = size(vf)
    for i in range(10):
        with vf.stage_version(f"n{i}") as group:
            group["x"][200_000 * i + 7] = i
    assert size(vf) - before < 10 * 12_000
    expected = data.copy()
    expected[5] = 0
    expected[200_000 * np.arange(10) + 7] = np.arange(10)
    assert np.array_equal(vf[0]["x"], expected)
    assert np.array_equal(vf["v1"]["x"], data)


def test_equal_chunks_are_stored_once(vf):
    with vf.stage_version("v1") as group:
        group["x"] = np.random.default_rng(0).random(100_000)
    before = size(vf)
    with vf.stage_version("v2") as group:
        group["y"] = vf["v1"]["x"][()]
        group.copy("x", "z")
        group.move("x", "w")
    assert size(vf) - before < 30_000
    assert content(vf["v2"])["z"] == content(vf["v1"])["x"]


def test_changed_attributes_do_not_copy_chunks(vf):
    with vf.stage_version("v1") as group:
        group["x"] = np.random.default_rng(0).random(100_000)
    before = size(vf)
    with vf.stage_version("v2") as group:
        for i in range(30):
            group["x"].attrs[f"a{i}"] = i
    with vf.stage_version("v3") as group:
        group["x"][0] = 5
    assert size(vf) - before < 60_000
    assert len(vf["v3"]["x"].attrs) == 30
    assert len(vf["v1"]["x"].attrs) == 0
    assert np.array_equal(vf["v2"]["x"], vf["v1"]["x"])


@pytest.mark.parametrize("attributes", [0, 1, 5, 30])
def test_only_touched_chunks_are_hashed(vf, reopen, monkeypatch, attributes):
    with vf.stage_version("v1") as group:
        group.create_dataset("x", data=np.arange(100_000), chunks=(100,))
        for i in range(attributes):
            group["x"].attrs[f"a{i}"] = "text" * 30
    vf = reopen()
    hashed = []

    def counting(data, padded_to=0):
        hashed.append(len(data))
        return hash_chunk(data, padded_to)

    monkeypatch.setattr("vh5d.versioned.values.hash_chunk", counting)
    for i in range(3):
        with vf.stage_version(f"n{i}") as group:
            group["x"][100 * i : 100 * i + 120] = i
            group["x"].attrs[f"more {i}"] = "text" * i
    assert hashed == [800] * 6


# Objects tied by references


def tied(group):
    group["time"] = np.arange(100.0)
    group["time"].make_scale("time")
    group["sub/data"] = np.ones((100, 3))
    group["sub/data"].dims[0].attach_scale(group["time"])
    group["sub/data"].dims[0].label = "t"
    group["other/data"] = np.zeros(100)
    group["other/data"].dims[0].attach_scale(group["time"])
    group["far/away"] = np.array([group["sub"].ref, group["sub/data"].ref], h5py.ref_dtype)
    group["far"].attrs["region"] = group["time"].regionref[2:5]


def check_tied(group):
    group = h5py.Group(group.id)
    root = group.name
    for name in ("sub/data", "other/data"):
        assert group[name].dims[0][0] == group["time"]
    attached = {group[ref].parent.parent.name for ref, _ in group["time"].attrs["REFERENCE_LIST"]}
    assert group["time"].is_scale
    assert len(attached) == 1 or root in attached
    assert group[group["far/away"][0]] == group["sub"]
    assert group[group["far/away"][1]] == group["sub/data"]
    assert group["time"][group["far"].attrs["region"]].tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        lambda g: None,
        lambda g: g["time"].__setitem__(99, 5.0),
        lambda g: g["sub/data"].__setitem__((0, 0), 5.0),
        lambda g: g["sub"].attrs.__setitem__("a", 1),
        lambda g: g["far/away"].attrs.__setitem__("a", 1),
        lambda g: g.__setitem__("new", 1),
        lambda g: g["time"].resize(120, axis=0),
    ],
)
def test_references_lead_to_the_objects_of_the_same_version(vf, change, reopen):
    with vf.stage_version("v1") as group:
        tied(group)
        assert group["sub/data"].dims[0][0] == group["time"]
        assert group["sub/data"].dims[0][0][3] == 3.0
        assert [d.label for d in group["sub/data"].dims] == ["t", ""]
        assert group["sub/data"].dims[0].keys() == ["time"]
    with vf.stage_version("v2") as group:
        change(group)
    vf = reopen("r")
    check_tied(vf["v1"])
    check_tied(vf["v2"])


def test_scales_of_committed_versions_can_be_detached_in_the_next(vf):
    with vf.stage_version("v1") as group:
        tied(group)
    with vf.stage_version("v2") as group:
        group["sub/data"].dims[0].detach_scale(group["time"])
        assert len(group["sub/data"].dims[0]) == 0
    assert len(vf["v2"]["sub/data"].dims[0]) == 0
    assert vf["v1"]["sub/data"].dims[0][0] == vf["v1"]["time"]
    with pytest.raises(ValueError, match="committed"):
        vf["v1"]["sub/data"].dims[0].detach_scale(vf["v1"]["time"])


# What is left when something fails


def populate(vf):
    with vf.stage_version("v1") as group:
        group["a/x"] = np.arange(10_000)
        group["text"] = "text"
        group.attrs["title"] = "one"


def tamper(group):
    group["a/x"][:] = 0
    group["a/x"].resize(5, axis=0)
    group["a"].attrs["unit"] = "mm"
    group["new"] = np.random.default_rng(0).random(100_000)
    group.attrs["title"] = "two"
    del group["text"]


def test_an_exception_leaves_the_file_as_it_was(vf, path):
    populate(vf)
    vf.f.flush()
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), vf.stage_version("v2") as group:  # noqa: PT012
        tamper(group)
        _ = 1 / 0
    vf.f.flush()
    assert path.read_bytes() == before
    assert vf.versions == ["v1"]
    assert vf.current_version == "v1"
    with vf.stage_version("v2") as group:
        assert group["a/x"][9_999] == 9_999
        tamper(group)
    assert vf["v2"]["a/x"].shape == (5,)


@pytest.mark.parametrize(
    "where",
    [
        "store.staging.StagingArea.place",
        "store.staging.StagingArea.finish_version",
        "versioned.backing.Backing._commit",
        "store.pools._append",
    ],
)
def test_a_commit_that_fails_is_taken_back(vf, where, monkeypatch, reopen):
    populate(vf)

    def fail(*arguments, **_):
        if arguments[1:2] == ("hash_table",):
            append(*arguments)
            return
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"), monkeypatch.context() as patch:  # noqa: PT012
        patch.setattr(f"vh5d.{where}", fail)
        if where.endswith("_commit"):
            patch.setattr("vh5d.versioned.backing.AtomicBacking._commit", fail)
        with vf.stage_version("v2") as group:
            tamper(group)
    assert vf.versions == ["v1"]
    assert vf.current_version == "v1"
    with vf.stage_version("v2") as group:
        tamper(group)
    vf = reopen("r")
    assert vf["v2"].attrs["sequence"] == 2
    assert np.array_equal(vf["v1"]["a/x"], np.arange(10_000))
    assert vf["v2"]["new"].shape == (100_000,)
    rows = {len(table) for pool in vf.f["_version_data/pools"].values() for table in pool.values()}
    assert len(rows) == 1


def test_a_reader_that_stays_makes_the_commit_wait_and_fail(tmp_path):
    path = tmp_path / "history.h5"
    with vh5d.open(path, "w", timeout=0.2) as vf:
        populate(vf)
        with (
            h5py.File(path, "r"),
            pytest.raises(vh5d.StoreBusyError),
            vf.stage_version("v2") as group,
        ):
            tamper(group)
        assert vf.versions == ["v1"]
        with vf.stage_version("v2") as group:
            tamper(group)
        assert vf.versions == ["v1", "v2"]


def test_only_one_writer(tmp_path):
    path = tmp_path / "history.h5"
    with vh5d.open(path, "w"):
        with pytest.raises(vh5d.StoreBusyError):
            vh5d.open(path, "r+", timeout=0.1)
        with vh5d.open(path) as reader:
            assert reader.versions == []


def test_others_see_each_version_as_soon_as_it_is_committed(tmp_path):
    path = tmp_path / "history.h5"
    with vh5d.open(path, "w") as vf:
        for i in range(3):
            with vf.stage_version(f"v{i}") as group:
                group["x"] = [i]
            with vh5d.open(path) as reader:
                assert reader[0]["x"][()].tolist() == [i]


# Which files serve


def history(vf):
    with vf.stage_version("v1") as group:
        group.create_dataset("a/x", data=np.arange(10_000), chunks=(100,), compression="gzip")
        group["text"] = np.array(["a", "b"], object)
    for i in range(5):
        with vf.stage_version(f"n{i}") as group:
            group["a/x"][i * 1000] = -1
            group["a/x"].attrs[f"step {i}"] = "a longer text that needs room in the header" * 3
            group["text"][0] = f"step {i}"


def check_history(vf):
    expected = np.arange(10_000)
    assert np.array_equal(vf["v1"]["a/x"], expected)
    for i in range(5):
        expected[i * 1000] = -1
        group = vf[f"n{i}"]
        assert np.array_equal(group["a/x"], expected)
        assert len(group["a/x"].attrs) == i + 1
        assert group["text"].asstr()[0] == f"step {i}"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"driver": "sec2"},
        {"driver": "stdio"},
        {"driver": "core"},
        {"userblock_size": 1024},
        {"libver": "latest"},
        {"libver": ("earliest", "v110")},
        {"fs_strategy": "page"},
        {"fs_strategy": "fsm", "fs_persist": True},
        {"rdcc_nbytes": 0, "track_order": True},
    ],
    ids=str,
)
def test_a_users_own_file_may_have_any_driver_and_options(tmp_path, options):
    path = tmp_path / "own.h5"
    with h5py.File(path, "w", **options) as file:
        history(VersionedHDF5File(file))
        check_history(VersionedHDF5File(file))
    again = {key: value for key, value in options.items() if key in ("driver", "libver")}
    with h5py.File(path, "r+", **again) as file:
        vf = VersionedHDF5File(file)
        check_history(vf)
        with vf.stage_version("last") as group:
            group["a/x"][1] = 7
            group["new"] = np.arange(10_000)
    with h5py.File(path, "r") as file:
        vf = VersionedHDF5File(file)
        check_history(vf)
        assert vf["last"]["a/x"][:3].tolist() == [-1, 7, 2]


def test_a_file_object():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        history(VersionedHDF5File(file))
    with h5py.File(buffer, "r") as file:
        check_history(VersionedHDF5File(file))


def test_a_file_by_vh5d_and_by_h5py_in_turn(tmp_path):
    path = tmp_path / "history.h5"
    with vh5d.open(path, "w") as vf:
        history(vf)
    with h5py.File(path, "r+") as file, VersionedHDF5File(file).stage_version("own") as group:
        group["a/x"][2] = 8
    with vh5d.open(path, "r+") as vf:
        with vf.stage_version("last") as group:
            group["a/x"][3] = 9
        check_history(vf)
        assert vf[0]["a/x"][1:5].tolist() == [1, 8, 9, 4]


@pytest.mark.parametrize("path", ["vh5d"], indirect=True)
@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_other_tools_read_every_version(vf, path, reopen):
    history(vf)
    vf.close()
    for version in ("v1", "n4"):
        name = f"/_version_data/versions/{version}/a/x"
        done = subprocess.run(
            ["h5dump", "-d", name, "-s", "4000", "-c", "1", path],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f"(4000): {4000 if version == 'v1' else -1}" in done.stdout


@pytest.mark.parametrize("path", ["h5py", "vh5d"], indirect=True)
@pytest.mark.parametrize("compression", ["auto", "keep"])
def test_versions_of_the_service_and_of_python_are_one_history(path, reopen, tmp_path, compression):
    source = tmp_path / "source.h5"
    data = np.random.default_rng(0).poisson(5, (100, 64, 64)).astype("u2")
    with h5py.File(source, "w") as file:
        file["frames"] = data
        file.create_dataset("chunked", data=data, chunks=(1, 64, 64))
        file["entry/text"] = "text"
        file.attrs["sequence"] = "of the source"
        tied(file)
    vh5d.capture(source, path, options=CaptureOptions(compression=compression))
    vf = reopen()
    assert vf.versions == ["v1"]
    with vf.stage_version("mine") as group:
        for name in ("frames", "chunked"):
            assert np.array_equal(group[name][3], data[3])
            group[name][3, 5] = 0
        group["entry/note"] = "looked at"
    edited = data.copy()
    edited[3, 5] = 0
    for name in ("frames", "chunked"):
        assert np.array_equal(vf["mine"][name], edited)
        assert np.array_equal(vf["v1"][name], data)
        assert vf["mine"][name].filter_ids == vf["v1"][name].filter_ids
    check_tied(vf["mine"])
    reopen("r").close()
    with h5py.File(source, "r+") as file:
        file["chunked"][0] = 1
    result = vh5d.capture(source, path)
    vf = reopen("r")
    assert vf.versions == ["v1", "mine", result.version]
    assert vf[result.version].attrs["prev_version"] == "mine"
    assert vf[result.version]["chunked"][0].max() == 1
    vf.close()
    restored = tmp_path / "restored.h5"
    vh5d.restore(path, result.version, restored)
    assert restored.read_bytes() == source.read_bytes()
    assert vh5d.verify(path).ok
