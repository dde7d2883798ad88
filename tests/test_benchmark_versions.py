"""The benchmark of versions runs, and tells what it measured."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    directory = tmp_path_factory.mktemp("benchmark")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "versions.py", "--quick", "--json", "--dir", directory],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(directory.iterdir()) == []
    return json.loads(done.stdout)


def test_everybody_was_measured_at_everything(measured):
    expected = ["vh5d, h5py.File", "vh5d.open"]
    if importlib.util.find_spec("versioned_hdf5"):
        expected.append("versioned-hdf5")
    assert measured["contestants"] == expected
    for what, by_name in measured["seconds"].items():
        assert set(by_name) - {"plain h5py"} == set(expected), what
        assert all(each > 0 for times in by_name.values() for each in times)
    for what, sizes in measured["nbytes"].items():
        assert set(sizes) == set(expected), what
    assert "full read, 200 chunks: at least 0.95 of plain h5py" in {
        each["what"] for each in measured["expected"]
    }


def test_a_changed_chunk_costs_a_chunk_and_no_virtual_dataset(measured):
    added = measured["nbytes"]["1 chunk of 200 changed"]
    assert added["vh5d, h5py.File"] < 10_000
    if "versioned-hdf5" in added:
        assert added["vh5d, h5py.File"] < added["versioned-hdf5"]
