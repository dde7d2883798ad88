"""Files of versioned-hdf5, and of old releases of it."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data" / "versioned-hdf5"
OLD = sorted(path.name.removesuffix(".h5.gz") for path in DATA.glob("*.h5.gz"))


@pytest.fixture(params=OLD)
def old_file(request, tmp_path) -> Path:
    """A file that an old release wrote; see tests/data/versioned-hdf5."""
    path = tmp_path / f"{request.param}.h5"
    path.write_bytes(gzip.decompress((DATA / f"{request.param}.h5.gz").read_bytes()))
    return path


@pytest.fixture(scope="session")
def old_history():
    """What these files hold: by version, the one before and the values."""
    spec = importlib.util.spec_from_file_location("make", DATA / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
