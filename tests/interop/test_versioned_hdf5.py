"""Histories go from versioned-hdf5 to vh5d and back, version by version the same."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import vh5d
from tests.support import histories
from tests.support.histories import Content, check, check_state
from vh5d import VersionedHDF5File

their = pytest.importorskip("versioned_hdf5")

pytestmark = [
    # Its datasets' identifiers have no destructor; h5py complains of that.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*moved from data version 4 to 5"),
]
SETTINGS = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def fresh(directory: Path, *names: str) -> list[Path]:
    paths = [directory / name for name in names]
    for path in paths:
        path.unlink(missing_ok=True)
    return paths


def write_theirs(path: Path, history: list[histories.Version]) -> None:
    with h5py.File(path, "w") as file:
        histories.write(their.VersionedHDF5File(file), history)


def write_ours(path: Path, history: list[histories.Version]) -> None:
    with vh5d.open(path, "w") as vf:
        histories.write(vf, history)


def check_file(path: Path, history: list[histories.Version]) -> None:
    with h5py.File(path) as file:
        check(file["_version_data/versions"], history)


def content(path: Path) -> Content:
    with h5py.File(path) as file:
        return Content.of(file)


def stage_theirs(path: Path, version: histories.Version) -> None:
    """Stage a version with versioned-hdf5, and read it and all others with it."""
    with h5py.File(path, "r+") as file:
        versioned = their.VersionedHDF5File(file)
        with versioned.stage_version(version.name, prev_version=version.previous) as group:
            histories.apply(group, version.edits)
        for name in versioned.versions:
            for path_in_version in _paths(versioned[name]):
                versioned[name][path_in_version][()]


def stage_ours(path: Path, version: histories.Version) -> None:
    with (
        vh5d.open(path, "r+") as vf,
        vf.stage_version(version.name, prev_version=version.previous) as group,
    ):
        histories.apply(group, version.edits)


def _paths(group: h5py.Group) -> list[str]:
    found: list[str] = []
    for name, each in group.items():
        if isinstance(each, h5py.Group):
            found += [f"{name}/{below}" for below in _paths(each)]
        else:
            found.append(name)
    return found


@st.composite
def one_more(draw, history):
    """Draw a version to be staged on top of a history."""
    previous = history[draw(st.integers(0, len(history) - 1))]
    state = dict(previous.state)
    edits = histories.draw_edits(draw, state, "more")
    return histories.Version("more", previous.name, tuple(edits), state)


@SETTINGS
@given(st.data())
def test_theirs_is_read_moved_and_staged_upon(tmp_path, data):
    history = data.draw(histories.histories())
    more = data.draw(one_more(history))
    (path,) = fresh(tmp_path, "theirs.h5")
    write_theirs(path, history)
    with vh5d.open(path) as vf:
        assert vf.versions == [version.name for version in history]
        for version in history:
            check_state(vf[version.name], version.state)
    stage_ours(path, more)
    check_file(path, [*history, more])
    assert vh5d.verify(path).ok


@SETTINGS
@given(st.data())
def test_theirs_is_imported_and_exported_again(tmp_path, data):
    history = data.draw(histories.histories())
    more = data.draw(one_more(history))
    old, new, back = fresh(tmp_path, "theirs.h5", "ours.h5", "back.h5")
    write_theirs(old, history)
    vh5d.import_file(old, new)
    check_file(new, history)
    assert content(new) == content(old)
    assert vh5d.verify(new).ok
    stage_ours(new, more)
    check_file(new, [*history, more])
    result = vh5d.export_file(new, back)
    assert result.warnings == ()
    check_file(back, [*history, more])


@SETTINGS
@given(st.data())
def test_ours_is_exported_staged_upon_by_them_and_imported_again(tmp_path, data):
    history = data.draw(histories.histories())
    more = data.draw(one_more(history))
    assume(all(version.state for version in history))
    ours, out, again = fresh(tmp_path, "ours.h5", "theirs.h5", "again.h5")
    write_ours(ours, history)
    result = vh5d.export_file(ours, out)
    assert result.warnings == ()
    check_file(out, history)
    stage_theirs(out, more)
    check_file(out, [*history, more])
    vh5d.import_file(out, again)
    check_file(again, [*history, more])
    assert vh5d.verify(again).ok


def cube(n: int = 10) -> np.ndarray:
    return np.arange(n * 7 * 5, dtype="<i4").reshape(n, 7, 5)


@pytest.fixture
def ours(tmp_path) -> Path:
    """A history of ours: floats, strings, a cube with edge chunks."""
    path = tmp_path / "ours.h5"
    with vh5d.open(path, "w") as vf:
        with vf.stage_version("a") as group:
            group.create_dataset("cube", data=cube(), chunks=(4, 4, 4), compression="gzip")
            group.create_dataset("text", data=np.array(["x", "y"], object), chunks=(4,))
            group["numbers"] = np.arange(10_000.0)
            group.attrs["title"] = "t"
        with vf.stage_version("b") as group:
            group["cube"][9, 6, 4] = -1
            group["text"].resize((3,))
            group["text"][2] = "z"
        with vf.stage_version("c") as group:
            group["numbers"][5000] = -1
    return path


def test_what_is_exported_is_laid_out_as_they_do_it(ours, tmp_path):
    """The same history written by them has the same hash tables and raw data."""
    vh5d.export_file(ours, tmp_path / "out.h5")
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        versioned = their.VersionedHDF5File(file)
        with versioned.stage_version("a") as group:
            group.create_dataset("cube", data=cube(), chunks=(4, 4, 4), compression="gzip")
            group.create_dataset(
                "text", data=np.array(["x", "y"], object), dtype=h5py.string_dtype(), chunks=(4,)
            )
            group.create_dataset("numbers", data=np.arange(10_000.0), chunks=(4096,))
        with versioned.stage_version("b") as group:
            group["cube"][9, 6, 4] = -1
            group["text"].resize((3,))
            group["text"][2] = "z"
        with versioned.stage_version("c") as group:
            group["numbers"][5000] = -1
    with h5py.File(tmp_path / "out.h5") as ours_file, h5py.File(tmp_path / "theirs.h5") as file:
        assert dict(ours_file["_version_data/versions"].attrs) == dict(
            file["_version_data/versions"].attrs
        )
        for path in ("cube", "text", "numbers"):
            mine, other = (f[f"_version_data/{path}"] for f in (ours_file, file))
            assert set(mine) == set(other)
            one, two = mine["raw_data"], other["raw_data"]
            for what in ("shape", "dtype", "chunks", "maxshape", "compression", "fillvalue"):
                assert getattr(one, what) == getattr(two, what), (path, what)
            assert one.attrs["chunks"].tolist() == two.attrs["chunks"].tolist()
            table, expected = mine["hash_table"], other["hash_table"]
            assert table.dtype == expected.dtype
            assert dict(table.attrs) == dict(expected.attrs)
            assert {row["hash"].tobytes() for row in table[()]} == {
                row["hash"].tobytes() for row in expected[()]
            }
            dataset, shown = (f[f"_version_data/versions/c/{path}"] for f in (ours_file, file))
            assert set(dataset.attrs) == set(shown.attrs)
            assert dataset.is_virtual
            assert dataset.maxshape == shown.maxshape


def test_they_share_chunks_with_what_was_exported(ours, tmp_path):
    out = tmp_path / "out.h5"
    vh5d.export_file(ours, out)
    with h5py.File(out, "r+") as file:
        rows = len(file["_version_data/numbers/raw_data"])
        with their.VersionedHDF5File(file).stage_version("d") as group:
            group["numbers"][5000] = 5000  # as it was before c
        assert len(file["_version_data/numbers/raw_data"]) == rows


def test_they_delete_versions_of_what_was_exported(ours, tmp_path):
    out = tmp_path / "out.h5"
    vh5d.export_file(ours, out)
    kept = content(out).without("a", "b").versions
    with h5py.File(out, "r+") as file:
        their.delete_versions(file, ["a", "b"])
    kept["c"]["attributes"]["prev_version"] = "__first_version__"
    assert content(out).versions == kept


def test_some_versions_are_exported(ours, tmp_path):
    result = vh5d.export_file(ours, tmp_path / "out.h5", versions=["a", "-1"])
    assert result.versions == ("a", "c")
    with h5py.File(tmp_path / "out.h5") as file:
        versioned = their.VersionedHDF5File(file)
        assert versioned.versions == ["a", "c"]
        assert versioned["c"].attrs["prev_version"] == "a"
        assert versioned.current_version == "c"
        assert versioned["c"]["cube"][9, 6, 4] == -1
    vh5d.export_file(ours, tmp_path / "first.h5", versions=["a"])
    with h5py.File(tmp_path / "first.h5") as file:
        assert their.VersionedHDF5File(file).current_version == "a"


def test_what_they_cannot_have_is_left_out_and_said(tmp_path):
    with vh5d.open(tmp_path / "ours.h5", "w") as vf, vf.stage_version("a") as group:
        group["number"] = 3.0
        group["nothing"] = h5py.Empty("f8")
        group["soft"] = h5py.SoftLink("data")
        group["type"] = np.dtype("i4")
        group.create_dataset("ragged", (3,), h5py.vlen_dtype("f4"))
        group["data"] = np.arange(3)
        group["data"].attrs["chunks"] = "of mine"
    result = vh5d.export_file(tmp_path / "ours.h5", tmp_path / "out.h5")
    left_out = dict(line.split(": left out: ") for line in result.warnings)
    assert left_out == {
        "number": "it is a scalar",
        "nothing": "it is empty (null)",
        "soft": "it is a soft link",
        "type": "it is a committed type",
        "ragged": "its element type",
        "data@chunks": "versioned-hdf5 has an attribute of this name itself",
    }
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(their.VersionedHDF5File(file)["a"]) == ["data"]


def test_a_dataset_whose_type_changed_has_raw_data_for_each(tmp_path):
    with vh5d.open(tmp_path / "ours.h5", "w") as vf:
        with vf.stage_version("a") as group:
            group.create_dataset("data", data=np.arange(10), chunks=(4,))
        with vf.stage_version("b") as group:
            del group["data"]
            group.create_dataset("data", data=np.arange(6.0) / 2, chunks=(3,), compression="gzip")
    result = vh5d.export_file(tmp_path / "ours.h5", tmp_path / "out.h5")
    assert len(result.warnings) == 1
    assert "data: its type, chunks or filters changed" in result.warnings[0]
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        versioned = their.VersionedHDF5File(file)
        assert versioned["a"]["data"][()].tolist() == list(range(10))
        with versioned.stage_version("c") as group:
            group["data"][0] = 9
        assert versioned["c"]["data"][()].tolist() == [9, 0.5, 1, 1.5, 2, 2.5]
        assert versioned["b"]["data"][0] == 0
    vh5d.import_file(tmp_path / "out.h5", tmp_path / "back.h5")
    assert content(tmp_path / "back.h5") == content(tmp_path / "out.h5")


def test_a_captured_history_is_exported(tmp_path):
    source, store = tmp_path / "run.h5", tmp_path / "store.h5"
    expected = []
    for number in range(3):
        with h5py.File(source, "a") as file:
            frames = file.require_dataset("frames", (6, 50, 40), "u2", chunks=(1, 50, 40))
            frames[number] = number + 1
            table = file.require_dataset("table", (9000,), "f8")  # contiguous
            table[number * 100] = number
            small = file.require_dataset("small", (7,), "i4")  # contiguous, kept whole
            small[number] = number
            names = file.require_dataset("names", (3,), h5py.string_dtype())
            names[number] = f"n{number}"
            expected.append({name: each[()] for name, each in file.items()})
        vh5d.capture(source, store)
    result = vh5d.export_file(store, tmp_path / "out.h5")
    assert result.warnings == ()
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        versioned = their.VersionedHDF5File(file)
        for name, values in zip(versioned.versions, expected, strict=True):
            for path, each in values.items():
                np.testing.assert_array_equal(versioned[name][path][()], each)
        with versioned.stage_version("more") as group:
            group["frames"][5] = 7
            group["small"].resize((9,))
        assert versioned["more"]["frames"][5, 1, 1] == 7


def test_nothing_is_overwritten(ours, tmp_path):
    (tmp_path / "there.h5").write_bytes(b"mine")
    with pytest.raises(vh5d.TargetExistsError):
        vh5d.export_file(ours, tmp_path / "there.h5")
    vh5d.export_file(ours, tmp_path / "theirs.h5")
    with pytest.raises(vh5d.TargetExistsError):
        vh5d.import_file(tmp_path / "theirs.h5", tmp_path / "there.h5")
    with pytest.raises(vh5d.NotAStoreError, match="store of vh5d already"):
        vh5d.import_file(ours, tmp_path / "new.h5")
    assert (tmp_path / "there.h5").read_bytes() == b"mine"
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "new.h5").exists()


def test_they_decline_a_file_that_was_moved(ours, tmp_path):
    """Rather than misread it: that is what data version 5 is for."""
    vh5d.export_file(ours, tmp_path / "out.h5")
    with vh5d.open(tmp_path / "out.h5", "r+") as vf, vf.stage_version("d"):
        pass
    with h5py.File(tmp_path / "out.h5", "r+") as file, pytest.raises(ValueError, match="5"):
        their.VersionedHDF5File(file)


def test_a_userblock_stays_before_what_is_moved(tmp_path):
    path = tmp_path / "theirs.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        versioned = their.VersionedHDF5File(file)
        with versioned.stage_version("a") as group:
            group.create_dataset("x", data=np.arange(50.0), chunks=(7,))
    before = content(path)
    with path.open("r+b") as file:
        file.write(b"my own header")
    with h5py.File(path, "r+") as file, VersionedHDF5File(file).stage_version("b") as group:
        group["x"][0] = 9
    assert content(path).without("b") == before
    assert path.read_bytes().startswith(b"my own header")


def test_tags_go_there_and_back(tmp_path):
    store, out, back = tmp_path / "store.h5", tmp_path / "theirs.h5", tmp_path / "back.h5"
    with vh5d.open(store, "w") as vf:
        for name in ("raw", "clean", "fitted"):
            with vf.stage_version(name) as group:
                group.create_dataset(name, data=np.arange(3))
    vh5d.tag(store, "raw", "best")
    vh5d.tag(store, "fitted", "published")
    vh5d.tag(store, "fitted", "final")
    vh5d.export_file(store, out)
    with h5py.File(out, "r+") as file:  # it goes on without minding them
        with their.VersionedHDF5File(file).stage_version("more") as group:
            group.create_dataset("x", data=[1])
        their.delete_versions(file, "clean")
    vh5d.import_file(out, back)
    with vh5d.open_store(back) as reader:
        found = {version.name: version.tags for version in reader.versions}
    assert found == {"raw": ("best",), "fitted": ("final", "published"), "more": ()}
    with vh5d.open(out, "r+") as vf, vf.stage_version("ours") as group:  # moved in place
        group.create_dataset("y", data=[1])
    with vh5d.open_store(out) as reader:
        assert reader.resolve("final").name == "fitted"
        assert reader.resolve("best").name == "raw"


def test_virtual_datasets_do_not_stay_open_while_others_are_exported(tmp_path):
    """HDF5 has their blocks in memory until then: a long history would not fit."""
    store, opened = tmp_path / "store.h5", []
    with vh5d.open(store, "w") as file:
        for number in range(30):
            with file.stage_version(f"v{number}") as group:
                if not number:
                    group.create_dataset("x", data=np.arange(1000.0), chunks=(100,))
                group["x"][number] = -1

    def note(_done, _total):
        opened.append(h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_DATASET))

    vh5d.export_file(store, tmp_path / "theirs.h5", progress=note)
    assert max(opened[-5:]) < max(opened[:5]) + 5
