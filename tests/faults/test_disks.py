"""Disks that are full, and disks that fail."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.e2e.test_up import write_h5py
from tests.support.mounts import loop, tmpfs
from tests.support.waiting import wait_for
from vh5d.capture.capture import capture
from vh5d.capture.restore import restore
from vh5d.errors import SourceUnreadableError, StoreError
from vh5d.store.reader import open_store
from vh5d.store.verify import verify


def write_noise(path: Path, nbytes: int, seed: int = 0) -> None:
    with h5py.File(path, "w") as file:
        file["noise"] = np.frombuffer(np.random.default_rng(seed).bytes(nbytes), "u1")


@pytest.mark.slow
def test_a_full_disk_is_said_and_waited_for(data, make_up, tmp_path):
    with tmpfs(tmp_path / "stores", "4m") as stores:
        up = make_up(store=f"{stores}/{{path}}")
        up.start()
        write_noise(data / "a.h5", 1 << 20)
        store = stores / "a.h5"
        wait_for(store.exists, "the first version")
        wait_for(lambda: up.status()["sources"][0]["state"] == "current", "its record")
        ballast = stores / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free(stores) - (256 << 10))
        write_noise(data / "a.h5", 1 << 20, seed=1)
        write_h5py(data / "small.h5")
        wait_for(lambda: up.said("failed"), "the failure")
        (source,) = [each for each in up.status()["sources"] if each["path"].endswith("a.h5")]
        assert source["state"] == "failed"
        assert "No space left on device" in source["error"]
        assert source["next_try"] is not None
        wait_for((stores / "small.h5").exists, "another file, which fits")
        with open_store(store) as reader:
            assert [version.name for version in reader.versions] == ["v1"]
        assert verify(store).ok
        ballast.unlink()
        wait_for(lambda: len(versions(store)) == 2, "the version", timeout=60)
        assert verify(store).ok
        assert up.stop() == 0


def versions(store: Path) -> list[str]:
    try:
        with open_store(store) as reader:
            return [version.name for version in reader.versions]
    except StoreError:
        return []


def free(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def test_a_disk_that_cannot_be_read_is_an_error_and_not_a_version(tmp_path):
    """The device ends before the file system does: reading past that is EIO."""
    image, store = tmp_path / "disk", tmp_path / "store.h5"
    with loop(image, tmp_path / "mount", 16 << 20) as mounted:
        source = mounted / "a.h5"
        write_noise(source, 4 << 20)
        capture(source, store)
        write_noise(source, 4 << 20, seed=1)
        os.sync()
        forget(source)
        with image.open("r+b") as file:
            file.truncate(2 << 20)
        try:
            source.read_bytes()
        except OSError:
            pass
        else:
            pytest.skip("the kernel still had all of it in memory")
        with pytest.raises(SourceUnreadableError, match="Input/output error"):
            capture(source, store)
    assert versions(store) == ["v1"]
    assert verify(store).ok


def forget(path: Path) -> None:
    """Have the kernel drop what it holds of the file in memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_sync_that_fails_is_never_called_a_success(tmp_path):
    """The device has less room than it says: writes are taken, and fail when they are synced."""
    source, before = tmp_path / "a.h5", tmp_path / "before.h5"
    with tmpfs(tmp_path / "thin", "6m") as thin, loop(thin / "d", tmp_path / "m", 32 << 20) as disk:
        store = disk / "store.h5"
        write_noise(source, 1 << 20)
        capture(source, store)
        before.write_bytes(source.read_bytes())
        write_noise(source, 12 << 20, seed=1)
        with pytest.raises(StoreError, match=r"Input/output error|No space|Read-only"):
            capture(source, store)
        assert versions(store) == ["v1"]
        restore(store, "v1", tmp_path / "back.h5")
    assert (tmp_path / "back.h5").read_bytes() == before.read_bytes()
