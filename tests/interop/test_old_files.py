"""Files of data versions 1 to 4 are read as they are, moved in place, imported."""

from __future__ import annotations

import datetime as dt
import hashlib
from contextlib import contextmanager

import h5py
import numpy as np
import pytest

import vh5d
from tests.support.histories import Content
from vh5d import VersionedHDF5File
from vh5d.store import layout

NAMES = ["first", "second", "other", "third"]
MOVED = "moved from data version"


def fingerprint(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(path):
    with h5py.File(path) as file:
        return Content.of(file)


def stage(path, kind, edit=None):
    with opened(path, kind) as vf:
        return stage_in(vf, edit)


def stage_in(vf, edit):
    with pytest.warns(UserWarning, match=MOVED):
        stage_new(vf, edit)
    return vf.data_version_identifier


def stage_new(vf, edit):
    with vf.stage_version("new") as group:
        if edit is not None:
            edit(group)


@contextmanager
def opened(path, kind):
    """Open a file for writing; in the user's own h5py.File, or with vh5d.open."""
    if kind == "vh5d":
        with vh5d.open(path, "r+") as vf:
            yield vf
    else:
        with h5py.File(path, "r+") as file:
            yield VersionedHDF5File(file)


@pytest.fixture(params=["h5py", "vh5d"])
def kind(request):
    return request.param


def test_versions_are_read_as_they_are(old_file, old_history):
    before = fingerprint(old_file)
    with vh5d.open(old_file) as vf:
        assert vf.versions == NAMES
        assert vf.current_version == "third"
        assert vf.data_version_identifier in layout.THEIR_DATA_VERSIONS
        for name, (previous, values) in old_history.history().items():
            assert vf[name].attrs["prev_version"] == previous
            for path, expected in values.items():
                np.testing.assert_array_equal(vf[name][path][()], expected)
                assert vf[name][path].attrs["unit"] == f"of {path}"
        assert vf[-1].name.endswith("/second")
        later = old_history.START + dt.timedelta(hours=1, minutes=5)
        assert vf[later].name.endswith("/second")
        assert len(vf.get_diff("numbers", "first", "second")) == 1
    assert fingerprint(old_file) == before


def test_opened_for_writing_nothing_changes_before_a_commit(old_file):
    before = fingerprint(old_file)
    with vh5d.open(old_file, "r+") as vf:
        assert vf["first"]["numbers"][60] == 60
        with pytest.raises(ValueError, match="already been committed"):
            vf["first"]["numbers"][0] = 1
    assert fingerprint(old_file) == before


def test_a_commit_moves_the_file_and_keeps_every_version(old_file, kind):
    before = content(old_file)

    def edit(group):
        group["numbers"][0] = 99
        group["names"][2] = "other"
        group["group/cube"].resize((6, 8, 7))

    assert stage(old_file, kind, edit) == layout.DATA_VERSION
    assert content(old_file).without("new") == before
    with vh5d.open(old_file) as vf:
        assert vf.versions == [*NAMES, "new"]
        new, third = vf["new"], vf["third"]
        assert new["numbers"][()].tolist() == [99, 2.5, 2.5]
        assert new["names"][2] == b"other"
        cube = np.zeros((6, 8, 7), "<i2")
        cube[:5, :7, :5] = third["group/cube"][()]
        np.testing.assert_array_equal(new["group/cube"][()], cube)
    assert vh5d.verify(old_file).ok


def test_chunks_stay_where_they_are(old_file, kind):
    with h5py.File(old_file) as file:
        raw = file["_version_data/group/cube/raw_data"]
        places = {raw.id.get_chunk_info(i).byte_offset for i in range(raw.id.get_num_chunks())}
    stage(old_file, kind)
    with h5py.File(old_file) as file:
        cubes = [file[f"_version_data/versions/{name}/group/cube"] for name in ("first", "third")]
        for cube in cubes:
            infos = [cube.id.get_chunk_info(i) for i in range(cube.id.get_num_chunks())]
            assert {info.byte_offset for info in infos} <= places
            assert not cube.is_virtual
        second, third = (file[f"_version_data/versions/{name}/names"] for name in NAMES[1::2])
        assert second == third  # what did not change is one object


def test_unchanged_versions_are_one_object(old_file, kind):
    stage(old_file, kind)
    with h5py.File(old_file) as file:
        versions = file["_version_data/versions"]
        assert versions["third"] != versions["new"]
        assert versions["third/group"] == versions["new/group"]


@pytest.mark.filterwarnings("error")
def test_an_exception_leaves_the_file_as_it_was(old_file, kind):
    before, bytes_before = content(old_file), fingerprint(old_file)

    def fail(group):
        group["numbers"][0] = 99
        raise ZeroDivisionError

    with opened(old_file, kind) as vf, pytest.raises(ZeroDivisionError):
        stage_new(vf, fail)
    assert content(old_file) == before
    with vh5d.open(old_file) as vf:
        assert vf.data_version_identifier in layout.THEIR_DATA_VERSIONS
    if kind == "vh5d":
        assert fingerprint(old_file) == bytes_before


def test_staging_works_in_the_same_session_after_an_exception(old_file, kind):
    before = content(old_file)

    def fail(group):
        group["names"][0] = "x"
        raise ZeroDivisionError

    with opened(old_file, kind) as vf:
        with pytest.raises(ZeroDivisionError):
            stage_new(vf, fail)
        stage_in(vf, lambda group: group["names"].resize((12,)))
    assert content(old_file).without("new") == before
    assert vh5d.verify(old_file).ok


def test_a_move_that_a_process_did_not_finish_is_undone(old_file):
    from vh5d.interop import moving
    from vh5d.store.h5py_medium import H5pyMedium
    from vh5d.store.staging import StagingArea

    before = content(old_file)
    with h5py.File(old_file, "r+") as file:
        moving.Move(file).stage(lambda: StagingArea(file, H5pyMedium(file)))
        file[moving.ASIDE].attrs[moving.MOVER] = -1  # another process
    with h5py.File(old_file, "r+") as file:
        assert VersionedHDF5File(file).data_version_identifier in layout.THEIR_DATA_VERSIONS
    assert content(old_file) == before


def test_other_changes_move_the_file_too(old_file, kind):
    with opened(old_file, kind) as vf:
        with pytest.warns(UserWarning, match=MOVED):
            del vf["other"]
        assert vf.versions == ["first", "second", "third"]
        vf.current_version = "second"
    assert vh5d.verify(old_file).ok


def test_a_moved_file_can_be_pruned_and_compacted(old_file):
    stage(old_file, "vh5d", lambda group: group["numbers"].resize((5,)))
    before = content(old_file)
    done = vh5d.prune(old_file, ["first", "second"])
    assert done.chunks_dropped
    kept = before.without("first", "second").versions
    for name, previous in (("other", "__first_version__"), ("third", "__first_version__")):
        kept[name]["attributes"]["prev_version"] = previous
    assert content(old_file).versions == kept
    assert vh5d.verify(old_file).ok
    vh5d.compact(old_file)
    assert content(old_file).versions == kept
    assert vh5d.verify(old_file).ok


def test_import_makes_a_store_and_leaves_the_file(old_file, tmp_path):
    before, seen = fingerprint(old_file), []
    result = vh5d.import_file(old_file, tmp_path / "new.h5", progress=lambda *at: seen.append(at))
    assert result.versions == tuple(NAMES)
    assert result.warnings == ()
    assert seen
    assert seen[-1][0] <= seen[-1][1]
    assert fingerprint(old_file) == before
    assert content(tmp_path / "new.h5") == content(old_file)
    assert vh5d.verify(tmp_path / "new.h5").ok
    with vh5d.open(tmp_path / "new.h5", "r+") as vf:
        assert vf.current_version == "third"
        with vf.stage_version("new") as group:
            group["names"][0] = "staged"
            group["numbers"].resize((4,))
        assert vf["new"]["numbers"][()].tolist() == [2.5, 2.5, 2.5, 0]


def test_what_lies_beside_the_versions_is_imported_too(old_file, tmp_path):
    with h5py.File(old_file, "r+") as file:
        file["notes/text"] = "kept"
        file["soft"] = h5py.SoftLink("/notes/text")
        file.attrs["about"] = 3
    vh5d.import_file(old_file, tmp_path / "new.h5")
    with h5py.File(tmp_path / "new.h5") as file:
        assert file["soft"][()] == b"kept"
        assert file.attrs["about"] == 3


def test_only_reading_commands_take_them(old_file, tmp_path):
    with pytest.raises(vh5d.NotAStoreError, match=r"written by versioned-hdf5 .* `vh5d import`"):
        vh5d.verify(old_file)
    with pytest.raises(vh5d.NotAStoreError, match="written by versioned-hdf5"):
        vh5d.export_file(old_file, tmp_path / "out.h5")


def test_they_may_be_captured_like_any_file(old_file, tmp_path):
    result = vh5d.capture(old_file, tmp_path / "store.h5")
    vh5d.restore(tmp_path / "store.h5", result.version, tmp_path / "back.h5")
    assert fingerprint(tmp_path / "back.h5") == fingerprint(old_file)
