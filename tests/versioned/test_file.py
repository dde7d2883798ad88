"""`VersionedHDF5File`: versions made, found, deleted; what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import h5py
import numpy as np
import pytest

import vh5d
from vh5d import NotAStoreError, StoreMissingError, TargetExistsError, VersionedHDF5File


@pytest.fixture
def three(vf):
    """Three versions, an hour apart, of x: [1], [2], [3]."""
    for i in (1, 2, 3):
        when = datetime(2026, 1, 1, i, tzinfo=UTC)
        with vf.stage_version(f"v{i}", timestamp=when) as group:
            group["x"] = [i]
    return vf


def x(group):
    return group["x"][()].tolist()


def test_a_new_file_has_no_version(vf):
    assert vf.current_version == "__first_version__"
    assert vf.versions == []
    assert len(vf) == 0
    assert list(vf[None]) == []
    assert vf[""].name.endswith("__first_version__")


def test_versions_are_listed_in_the_order_in_which_they_were_made(three):
    assert three.versions == list(three) == ["v1", "v2", "v3"]
    assert len(three) == 3
    assert "v2" in three
    assert "v9" not in three
    assert "__first_version__" not in three
    assert 2 not in three


def test_versions_are_found_by_name_place_and_time(three):
    assert x(three["v1"]) == [1]
    assert x(three[None]) == x(three[0]) == [3]
    assert x(three[-1]) == [2]
    assert x(three[np.int64(-2)]) == [1]
    two = datetime(2026, 1, 1, 2, tzinfo=UTC)
    assert x(three[two]) == [2]
    assert x(three[two + timedelta(minutes=59)]) == [2]
    assert x(three[np.datetime64("2026-01-01T02:30")]) == [2]
    assert x(three.get_version_by_timestamp(two, exact=True)) == [2]
    assert x(three.get_version_by_name("v3")) == [3]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ("v9", KeyError),
        ("v1/x", KeyError),
        ("/v1", ValueError),
        (1, IndexError),
        (-3, IndexError),
        (1.5, KeyError),
        (datetime(2026, 1, 1, 2), ValueError),  # noqa: DTZ001
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=1))), ValueError),
        (datetime(2025, 1, 1, tzinfo=UTC), KeyError),
        (np.datetime64("NaT"), ValueError),
    ],
)
def test_what_is_no_version_is_refused(three, item, error):
    with pytest.raises(error):
        three[item]


def test_an_exact_time_must_be_met(three):
    with pytest.raises(KeyError):
        three.get_version_by_timestamp(np.datetime64("2026-01-01T02:30"), exact=True)
    with pytest.raises(TypeError):
        three.get_version_by_timestamp("2026-01-01")


def test_the_timestamp_is_utc_text(vf):
    before = datetime.now(UTC)
    with vf.stage_version("v"):
        pass
    text = vf["v"].attrs["timestamp"]
    made = datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f%z")
    assert before <= made <= datetime.now(UTC)
    assert text.endswith("+0000")


@pytest.mark.parametrize(
    "when",
    [
        datetime(2020, 6, 29, 23, 58, 21, 116470, tzinfo=UTC),
        np.datetime64("2020-06-29T23:58:21.116470"),
    ],
)
def test_a_given_timestamp_is_kept(vf, when):
    with vf.stage_version("v", timestamp=when):
        pass
    assert vf["v"].attrs["timestamp"] == "2020-06-29 23:58:21.116470+0000"
    assert vf[when].name == vf["v"].name


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"version_name": "v1"}, ValueError),
        ({"version_name": "a/b"}, ValueError),
        ({"version_name": ""}, ValueError),
        ({"version_name": "__first_version__"}, ValueError),
        ({"version_name": 4}, TypeError),
        ({"version_name": "n", "prev_version": "v9"}, ValueError),
        ({"version_name": "n", "timestamp": datetime(2026, 1, 1)}, ValueError),  # noqa: DTZ001
        ({"version_name": "n", "timestamp": "2026-01-01"}, TypeError),
    ],
)
def test_what_cannot_be_staged_is_refused(three, arguments, error):
    with pytest.raises(error), three.stage_version(**arguments):
        pass
    assert three.versions == ["v1", "v2", "v3"]


def test_a_name_is_made_up_when_none_is_given(vf):
    with vf.stage_version(None):
        pass
    assert vf.versions == [vf.current_version]


def test_branches(three):
    with three.stage_version("b", prev_version="v1", make_current=False) as group:
        assert x(group) == [1]
        group["y"] = [0]
    assert three.current_version == "v3"
    assert three["b"].attrs["prev_version"] == "v1"
    with three.stage_version("empty", prev_version="") as group:
        assert list(group) == []
        assert group.attrs["prev_version"] == "__first_version__"
    assert three.current_version == "empty"
    with pytest.raises(IndexError):
        three[-1]


def test_the_current_version_can_be_set(three, reopen):
    three.current_version = "v2"
    assert x(three[0]) == [2]
    with pytest.raises(ValueError, match="not found"):
        three.current_version = "v9"
    again = reopen()
    assert again.current_version == "v2"
    with again.stage_version("v4") as group:
        assert x(group) == [2]


def test_a_deleted_version_is_gone_and_those_based_on_it_stay(three, reopen):
    del three["v2"]
    assert three.versions == ["v1", "v3"]
    assert x(three[-1]) == [1]
    del three["v3"]
    assert three.current_version == "v1"
    for item, error in (("v2", KeyError), (-1, NotImplementedError)):
        with pytest.raises(error):
            del three[item]
    assert reopen("r").versions == ["v1"]


def test_committed_versions_are_read_only(three):
    group = three["v1"]
    with pytest.raises(ValueError, match="committed"):
        group["x"][0] = 9
    with pytest.raises(ValueError, match="committed"):
        group["x"].resize((5,))
    with pytest.raises(ValueError, match="committed"):
        group["x"].write_direct(np.zeros(1, int))
    with pytest.raises(ValueError, match="committed"):
        group["x"].make_scale()
    with pytest.raises(ValueError, match="committed"):
        group["x"].dims[0].label = "time"
    for change in (
        lambda: group.__setitem__("y", 1),
        lambda: group.__delitem__("x"),
        lambda: group.create_group("g"),
        lambda: group.create_dataset("d", data=1),
        lambda: group.require_group("g"),
        lambda: group.move("x", "y"),
        lambda: group.copy("x", "y"),
        lambda: group.attrs.__setitem__("a", 1),
        lambda: group.attrs.create("a", 1),
        lambda: group.attrs.modify("timestamp", "now"),
        lambda: group["x"].attrs.__setitem__("a", 1),
    ):
        with pytest.raises(ValueError, match="committed"):
            change()
    assert x(group) == [1]


def test_what_was_staged_goes_on_as_committed(vf):
    with vf.stage_version("v1") as group:
        group["g/x"] = np.arange(10)
        inner, dataset = group["g"], group["g/x"]
    assert repr(group) == '<Committed InMemoryGroup "/_version_data/versions/v1">'
    assert dataset[3] == 3
    assert list(inner) == ["x"]
    for change in (lambda: dataset.__setitem__(0, 1), lambda: inner.create_group("h")):
        with pytest.raises(ValueError, match="committed"):
            change()


def test_what_was_staged_and_thrown_away_is_closed(vf):
    with pytest.raises(KeyError), vf.stage_version("v1") as group:  # noqa: PT012
        group["x"] = np.arange(10)
        raise KeyError
    assert not group
    assert repr(group) == "<Closed InMemoryGroup>"
    with pytest.raises(ValueError):  # noqa: PT011 - as h5py says it
        group["y"] = 1


def test_uncommitted_versions_cannot_be_accessed(vf):
    with vf.stage_version("v1") as group:
        group["x"] = [1]
        with pytest.raises(KeyError):
            vf["v1"]
        assert vf.versions == []


def test_a_name_that_another_stage_takes_meanwhile_is_refused(vf):
    with pytest.raises(ValueError, match="already"), vf.stage_version("v1") as outer:  # noqa: PT012
        outer["x"] = [1]
        with vf.stage_version("v1") as inner:
            inner["x"] = [2]
    assert x(vf["v1"]) == [2]


def test_two_stages_at_once(vf):
    with vf.stage_version("a") as a, vf.stage_version("b") as b:
        a["x"] = [1]
        b["x"] = [2]
    assert (x(vf["a"]), x(vf["b"])) == ([1], [2])


def test_reading_gives_plain_h5py_objects(three, reopen):
    again = reopen("r")
    group = again["v2"]
    assert type(group) is h5py.Group
    assert type(group["x"]) is h5py.Dataset
    assert x(group) == [2]
    with pytest.raises(ValueError, match="reading only"), again.stage_version("v4"):
        pass


def test_closing_in_either_order(tmp_path):
    for i, first in enumerate(("file", "versions")):
        file = h5py.File(tmp_path / f"{i}.h5", "w")
        vf = VersionedHDF5File(file)
        assert repr(vf) == f'<VersionedHDF5File object "{file.filename}" (mode r+)>'
        for each in (file, vf) if first == "file" else (vf, file):
            each.close()
        assert vf.closed
        assert repr(vf) == "<Closed VersionedHDF5File>"
        assert not file
        for use in (lambda vf=vf: vf["v"], lambda vf=vf: vf.current_version, lambda vf=vf: vf.f):
            with pytest.raises(ValueError, match="closed"):
                use()
        with pytest.raises(ValueError, match="closed"), vf.stage_version("v"):
            pass
        vf.close()


def test_closing_leaves_the_callers_file_open(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        with VersionedHDF5File(file) as vf:
            assert vf.f == file
        assert file
        assert list(file) == ["_version_data"]


def test_what_else_is_in_the_file_stays(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["mine"] = np.arange(5)
        vf = VersionedHDF5File(file)
        with vf.stage_version("v1") as group:
            group["x"] = [1]
        assert file["mine"][:].tolist() == [0, 1, 2, 3, 4]
        assert sorted(file) == ["_version_data", "mine"]


def test_a_file_without_versions_cannot_be_read(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["x"] = 1
    with h5py.File(tmp_path / "plain.h5", "r") as file, pytest.raises(NotAStoreError):
        VersionedHDF5File(file)
    with pytest.raises(NotAStoreError):
        vh5d.open(tmp_path / "plain.h5")


def test_modes_of_open(tmp_path):
    path = tmp_path / "history.h5"
    for mode in ("r", "r+"):
        with pytest.raises(StoreMissingError):
            vh5d.open(path, mode)
    with pytest.raises(ValueError, match="mode"):
        vh5d.open(path, "rw")
    with vh5d.open(path, "w") as vf:
        assert path.exists()
        assert not vf.closed
    for mode in ("w", "x"):
        with pytest.raises(TargetExistsError):
            vh5d.open(path, mode)
    for mode in ("a", "r+", "r"):
        with vh5d.open(path, mode) as vf:
            assert vf.versions == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.h5"]


def test_the_diff_names_the_chunks_that_differ(vf):
    with vf.stage_version("v1") as group:
        group.create_dataset("x", data=np.arange(2500), chunks=(1000,), maxshape=(None,))
    with vf.stage_version("v2") as group:
        group["x"][1500] = -1
        group["x"].resize((3500,))
    diff = vf.get_diff("x", "v1", "v2")
    found = {(key.raw[0].start, key.raw[0].stop): values for key, values in diff.items()}
    assert sorted(found) == [(1000, 2000), (2000, 2500), (2000, 3000), (3000, 3500)]
    before, after = found[1000, 2000]
    assert np.flatnonzero(before != after).tolist() == [500]
    before, after = found[2000, 2500]
    assert after is None
    assert before.tolist() == list(range(2000, 2500))
    before, after = found[2000, 3000]
    assert before is None
    assert after.tolist() == [*range(2000, 2500), *[0] * 500]
    assert vf.get_diff("x", "v1", "v1") == {}
    with pytest.raises(KeyError):
        vf.get_diff("x", "v1", "v9")
