"""A disk that refuses, told of as that by files of versions."""

from __future__ import annotations

import errno
import os

import pytest

import vh5d
from vh5d.errors import StoreWriteError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.versioned import backing


class Failing(Disk):
    """Fails once it is told to, in all that it does."""

    calls: tuple[str, ...] = ()

    def _check(self, name):
        if name in self.calls:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def preadv(self, fd, buffers, offset):
        self._check("preadv")
        return super().preadv(fd, buffers, offset)

    def fdatasync(self, fd):
        self._check("fdatasync")
        super().fdatasync(fd)

    def ftruncate(self, fd, size):
        self._check("ftruncate")
        super().ftruncate(fd, size)


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


def stage(file, disk, failing):
    with file.stage_version("b") as group:
        group["x"][5] = 0
        disk.calls = (failing,)


def open_and_stage(path, disk, failing):
    with vh5d.open(path, "r+") as file:
        disk.calls = (failing,)
        with file.stage_version("b") as group:
            group["x"][5] = 0


def test_a_read_that_fails_is_told_as_that(path, disk):
    with pytest.raises(StoreWriteError, match="Input/output error; check the disk"):
        open_and_stage(path, disk, "preadv")
    disk.calls = ()
    with vh5d.open(path) as file:
        assert list(file) == ["a"]


def test_a_commit_left_half_applied_is_told_and_recovered_by_the_next_opening(path, disk):
    with vh5d.open(path, "r+") as file:
        with pytest.raises(StoreWriteError, match="Input/output error"):
            stage(file, disk, "ftruncate")
        disk.calls = ()
    with vh5d.open(path) as file:
        assert list(file) in (["a"], ["a", "b"])
