"""A disk that refuses, told of as that by files of versions."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import pytest

import vh5d
from vh5d.errors import StoreWriteError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.versioned import backing

THEIRS = Path(__file__).parents[1] / "data" / "versioned-hdf5" / "2.1.0.h5.gz"


class Failing(Disk):
    """Fails at all calls of one kind, but for some first ones; or at one of them."""

    call: str | None = None
    later = 0
    once = False

    def _check(self, name):
        if name == self.call:
            self.later -= 1
            if self.later < 0:
                self.call = None if self.once else name
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def preadv(self, fd, buffers, offset):
        self._check("preadv")
        return super().preadv(fd, buffers, offset)

    def fdatasync(self, fd):
        self._check("fdatasync")
        super().fdatasync(fd)


@pytest.fixture
def disk(monkeypatch):
    disk, open_atomic = Failing(), AtomicFile.open
    monkeypatch.setattr(
        backing.AtomicFile, "open", lambda path, **options: open_atomic(path, disk=disk, **options)
    )
    return disk


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "versions.h5"
    with vh5d.open(path, "w") as file, file.stage_version("a") as group:
        group.create_dataset("x", data=range(3000), chunks=(100,))
    return path


def stage(file):
    with file.stage_version("b") as group:
        group["x"][5] = 0


def open_and_stage(path, disk):
    with vh5d.open(path, "r+") as file:
        disk.call = "preadv"
        with file.stage_version("b") as group:
            group["x"][5] = 0


def test_a_read_that_fails_is_told_as_that(path, disk):
    with pytest.raises(StoreWriteError, match="Input/output error; check the disk"):
        open_and_stage(path, disk)
    disk.call = None
    with vh5d.open(path) as file:
        assert list(file) == ["a"]


def test_a_commit_left_half_applied_is_told_and_recovered_by_the_next_opening(path, disk):
    with vh5d.open(path, "r+") as file:
        # The last of four: the superblock is written.
        disk.call, disk.later = "fdatasync", 3
        with pytest.raises(StoreWriteError, match="Input/output error"):
            stage(file)
        disk.call = None
    with vh5d.open(path) as file:
        assert list(file) == ["a", "b"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # that it was moved
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_read_that_fails_while_a_file_of_versioned_hdf5_is_moved_is_told(tmp_path, disk):
    # It was a KeyError of HDF5, which had met the zeros that it was given.
    disk.once, refused = True, 0
    for number in range(60):
        path = tmp_path / f"{number}.h5"
        path.write_bytes(gzip.decompress(THEIRS.read_bytes()))
        try:
            with vh5d.open(path, "r+") as file:
                disk.call, disk.later = "preadv", 3 * number
                with file.stage_version("new") as group:
                    group.create_dataset("x", data=range(10))
        except StoreWriteError:
            refused += 1
        disk.call = None
        with vh5d.open(path) as file:
            assert "third" in file
    assert refused > 30
