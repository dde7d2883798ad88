"""A file of versions: in a user's own h5py.File, and opened by vh5d."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

import vh5d
from vh5d import VersionedHDF5File


@pytest.fixture(params=["h5py", "vh5d"])
def path(request, tmp_path) -> Path:
    where = tmp_path / f"history-{request.param}.h5"
    where.parent.joinpath("kind").write_text(request.param)
    return where


@pytest.fixture
def reopen(path):
    """Opens the file of the test, and closes what it opened before."""
    opened: list[VersionedHDF5File] = []
    kind = path.parent.joinpath("kind").read_text()

    def close() -> None:
        while opened:
            vf = opened.pop()
            file = None if vf.closed else vf.f
            vf.close()
            if kind == "h5py" and file is not None:
                file.close()

    def open_again(mode: str = "r+") -> VersionedHDF5File:
        close()
        if kind == "vh5d":
            opened.append(vh5d.open(path, "a" if mode == "r+" else mode))
        else:
            opened.append(VersionedHDF5File(h5py.File(path, "a" if mode == "r+" else mode)))
        return opened[-1]

    yield open_again
    close()


@pytest.fixture
def vf(reopen: Callable[..., VersionedHDF5File]) -> VersionedHDF5File:
    return reopen()
