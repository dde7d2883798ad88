"""`vh5d import` and `vh5d export`, and other commands on files of versioned-hdf5."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import pytest

DATA = Path(__file__).parents[1] / "data" / "versioned-hdf5"
NAMES = ["first", "second", "other", "third"]


@pytest.fixture
def theirs(tmp_path) -> Path:
    path = tmp_path / "theirs.h5"
    path.write_bytes(gzip.decompress((DATA / "1.7.0.h5.gz").read_bytes()))
    return path


def test_import_and_export(vh5d, theirs, tmp_path):
    done = vh5d("import", theirs, "ours.h5")
    assert done.code == 0
    assert done.out.startswith(f"{tmp_path / 'ours.h5'}: 4 versions of {theirs} (data version 4), ")
    assert [each["name"] for each in vh5d("log", "ours.h5", "--json").json["versions"]] == NAMES[
        ::-1
    ]
    done = vh5d("export", "ours.h5", "back.h5", "--version", "first", "--version", "-1")
    assert done.code == 0
    assert done.out.startswith(f"{tmp_path / 'back.h5'}: 2 versions, ")
    with h5py.File(tmp_path / "back.h5") as file:
        assert set(file["_version_data/versions"]) == {"__first_version__", "first", "third"}


def test_as_json(vh5d, theirs, tmp_path):
    told = vh5d("import", theirs, "ours.h5", "--json").json
    assert told.pop("seconds") >= 0
    assert told == {
        "source": str(theirs),
        "store": str(tmp_path / "ours.h5"),
        "data_version": 4,
        "versions": NAMES,
        "bytes": (tmp_path / "ours.h5").stat().st_size,
        "warnings": [],
    }
    told = vh5d("export", "ours.h5", "back.h5", "--json").json
    assert told.pop("seconds") >= 0
    assert told == {
        "store": str(tmp_path / "ours.h5"),
        "target": str(tmp_path / "back.h5"),
        "versions": NAMES,
        "bytes": (tmp_path / "back.h5").stat().st_size,
        "warnings": [],
    }


def test_what_is_left_out_is_said_in_a_line(vh5d, tmp_path):
    import vh5d as package

    with package.open(tmp_path / "ours.h5", "w") as vf, vf.stage_version("a") as group:
        group["scalar"] = 1.0
    done = vh5d("export", "ours.h5", "out.h5")
    assert done.code == 0
    assert done.line.endswith("ours.h5: scalar: left out: it is a scalar")


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("import", "theirs.h5", "theirs.h5"), 2, "exists, and is left as it is"),
        (("import", "text", "new.h5"), 1, "not an HDF5 file"),
        (("import", "missing.h5", "new.h5"), 1, "does not exist"),
        (("import", "theirs.h5", "missing/new.h5"), 0, ""),
        (("import", "ours.h5", "new.h5"), 1, "is a store of vh5d already"),
        (("export", "theirs.h5", "new.h5"), 1, "written by versioned-hdf5 (data version 4)"),
        (("export", "ours.h5", "text"), 2, "exists, and is left as it is"),
        (("export", "ours.h5", "missing/out.h5"), 1, "make its directory first"),
        (("export", "ours.h5", "new.h5", "--version", "x"), 2, "no version 'x'"),
        (("verify", "theirs.h5"), 1, "`vh5d import` makes a store of it"),
        (("restore", "theirs.h5", "-o", "new.h5"), 1, "written by versioned-hdf5"),
    ],
)
def test_wrong_use(vh5d, theirs, tmp_path, arguments, code, what):
    assert vh5d("import", theirs, "ours.h5").code == 0
    (tmp_path / "text").write_text("no HDF5")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    done = vh5d(*arguments)
    assert done.code == code
    if code:
        assert what in done.line
        after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert after == before


def test_log_and_show_read_their_files(vh5d, theirs):
    versions = vh5d("log", theirs, "--json").json["versions"]
    assert [each["name"] for each in versions] == NAMES[::-1]
    assert versions[0]["changes"]["dataset"] == {"changed": 2, "added": 0, "removed": 0}
    shown = vh5d("show", theirs, "third").out
    assert "numbers  float64 (3)" in shown
    assert 'title = "third of the history"' in shown
