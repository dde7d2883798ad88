from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

INSTRUMENT = Path(__file__).parent.parent / "examples" / "instrument.py"


def instrument(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, INSTRUMENT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_appends_in_every_cycle_and_says_so(tmp_path):
    out = tmp_path / "new" / "run.h5"
    said = instrument(out, "--frames", 4, "--cycles", 2, "--shape", "16,8", "--interval", 0)
    assert said.splitlines() == [
        f"{out}: 4 frames appended, 3 rewritten, 4 in all",
        f"{out}: 4 frames appended, 3 rewritten, 8 in all",
    ]
    with h5py.File(out) as file:
        counts = file["entry/data/counts"]
        assert (counts.shape, counts.dtype, counts.chunks) == ((8, 16, 8), np.uint16, (1, 16, 8))
        assert counts.compression == "gzip"
        assert (counts[()].reshape(8, -1).mean(axis=1) > 10).all()
        assert (np.diff(file["entry/data/time"]) > 0).all()
        assert file["entry"].attrs["NX_class"] == "NXentry"
        assert file["entry/data"].attrs["signal"] == "counts"


def test_a_seed_gives_the_same_counts(tmp_path):
    for name in ("a.h5", "b.h5"):
        instrument(tmp_path / name, "--frames", 3, "--interval", 0, "--seed", 7)
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        np.testing.assert_array_equal(a["entry/data/counts"], b["entry/data/counts"])


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_swmr_files_are_closed_cleanly(tmp_path, compression):
    out = tmp_path / "run.h5"
    instrument(out, "--frames", 2, "--interval", 0, "--swmr", "--compression", compression)
    # HDF5 File Format Specification 3.0, II.A: superblock version 3, consistency flags at byte 11.
    head = out.read_bytes()[:12]
    assert (head[8], head[11]) == (3, 0)
    with h5py.File(out) as file:
        assert file["entry/data/counts"].compression == (None if compression == "none" else "gzip")


def test_nexusformat_reads_it(tmp_path):
    nexusformat = pytest.importorskip("nexusformat.nexus")
    out = tmp_path / "run.nxs"
    instrument(out, "--frames", 3, "--interval", 0, "--shape", "8,8")
    entry = nexusformat.nxload(out)["entry"]
    assert entry.nxclass == "NXentry"
    assert entry["data"].nxsignal.shape == (3, 8, 8)
