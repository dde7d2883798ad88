from __future__ import annotations

import json
import signal

import pytest

from tests.support.service import run_vh5d
from vh5d.cli.status_text import _sources


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("style", ["json", "text"])
def test_watching_shows_it_again_and_again_until_ctrl_c(empty, style):
    arguments = ["--json"] if style == "json" else []
    process = run_vh5d("status", empty, "--watch", "--interval", "0.1", *arguments)
    lines = [process.stdout.readline() for _ in range(6)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    if style == "json":
        assert all(json.loads(line)["running"] is False for line in lines)
    else:
        assert lines[:4] == [
            f"policy default: {empty}\n",
            "not running (`vh5d up` starts it); this is what the stores hold\n",
            "no HDF5 files yet\n",
            "\n",
        ]
        assert lines[4] == lines[0]


def test_files_are_named_as_they_may_be_typed_here(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    common = {"version": "v1", "state": "current", "error": None, "next_try": None}
    places = ("data/a/b.h5", "other.h5", "database.h5")
    shown = _sources([{**common, "path": str(tmp_path / place)} for place in places])
    assert [line.split()[-1] for line in shown.splitlines()[1:]] == [
        "a/b.h5",
        str(tmp_path / "other.h5"),
        str(tmp_path / "database.h5"),
    ]


def test_a_capture_that_takes_long_shows_how_far_it_is():
    common = {"path": "/a.h5", "version": None, "error": None, "next_try": None}
    states = [("capturing", 45.2), ("capturing", None), ("current", 99.0)]
    shown = _sources([{**common, "state": state, "progress": far} for state, far in states])
    assert [line.split()[:-2] for line in shown.splitlines()[1:]] == [
        ["capturing", "45", "%"],
        ["capturing"],
        ["current"],
    ]
