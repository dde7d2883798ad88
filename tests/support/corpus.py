"""Real HDF5 files written by others. They stay where they are: VH5D_CORPUS, or ../shared/corpus."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(
    os.environ.get("VH5D_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus"
).resolve()
SUFFIXES = {".hdf5", ".h5", ".nc", ".nxs"}


def corpus_parameters() -> list[object]:
    """Return a parameter for each file; one that skips, with the reason, when there are none."""
    files = sorted(p for p in ROOT.rglob("*") if p.suffix in SUFFIXES) if ROOT.is_dir() else []
    if not files:
        reason = f"no HDF5 files in {ROOT}; set VH5D_CORPUS"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="no-corpus")]
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in files]
