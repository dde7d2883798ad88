from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SITUATIONS = {"first capture", "1 % of the frames changed", "nothing changed"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What benchmarks/capture.py found with one round of 8 frames, and where it worked."""
    directory = tmp_path_factory.mktemp("benchmark")
    arguments = ["--size", "4", "--runs", "1", "--json", "--dir", directory]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "capture.py", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), directory


def contestants(measured) -> dict[str, dict]:
    return {each["name"]: each for each in measured[0]["contestants"]}


def test_everybody_who_is_installed_was_measured_in_every_situation(measured):
    found = contestants(measured)
    for name in ("borg", "restic"):
        assert (name in found) == (shutil.which(name) is not None)
        assert (name in measured[0]["left_out"]) == (shutil.which(name) is None)
    for each in found.values():
        assert set(each["situations"]) == SITUATIONS
        for measures in each["situations"].values():
            assert len(measures["seconds"]["rounds"]) == 1
            assert measures["store_nbytes"] > 0


def test_the_captured_files_come_back_with_the_same_bytes(measured):
    for name, each in contestants(measured).items():
        gives_files = not name.startswith("versioned-hdf5")
        assert each["same_bytes"] is (True if gives_files else None), name


def test_a_change_of_one_frame_costs_vh5d_one_frame(measured):
    first, changed, same = (
        each["store_nbytes"] for each in contestants(measured)["vh5d"]["situations"].values()
    )
    assert same == changed
    assert 0 < changed - first < first / 2


def test_nothing_is_left_in_its_directory(measured):
    assert list(measured[1].iterdir()) == []
