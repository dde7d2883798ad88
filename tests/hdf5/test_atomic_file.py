"""Stores are created and changed all at once, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

import h5py
import numpy as np
import pytest

from tests.support.other_process import other_process, run
from tests.support.simulated_disk import SimulatedDisk
from tests.support.stores import V110, add, listing, make_store, names
from vh5d.errors import (
    NotAStoreError,
    StoreBusyError,
    StoreConflictError,
    StoreDamagedError,
    StoreMissingError,
    StoreWriteError,
    TargetExistsError,
)
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.recovery import recover


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store.h5")


def test_a_commit_shows_at_once_and_not_before(store):
    with AtomicFile.open(store) as atomic:
        add(atomic, "y")
        assert names(store) == ["x"]
        atomic.commit()
        assert names(store) == ["x", "y"]
        add(atomic, "z")
        atomic.commit()
    assert names(store) == ["x", "y", "z"]
    assert listing(store) == ["store.h5"]


def test_a_new_store_appears_whole(tmp_path):
    path = tmp_path / "new.h5"
    with AtomicFile.create(path, mode=0o640) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = np.arange(1000)
        assert not path.exists()
        atomic.commit()
        assert names(path) == ["x"]
        add(atomic, "y")
        atomic.commit()
    assert names(path) == ["x", "y"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert listing(path) == ["new.h5"]


def test_what_is_not_committed_leaves_no_trace(store):
    before = store.read_bytes()
    with AtomicFile.open(store) as atomic:
        add(atomic, "y", np.ones(100_000))
        assert store.stat().st_size > len(before)
    assert store.read_bytes() == before
    with (
        AtomicFile.create(store.with_name("other.h5")) as atomic,
        h5py.File(atomic, "w", libver=V110) as file,
    ):
        file["x"] = 1
    assert listing(store) == ["store.h5"]


def test_abort_begins_anew(store):
    with AtomicFile.open(store) as atomic:
        add(atomic, "wrong", np.ones(100_000))
        atomic.abort()
        assert atomic.size == atomic.base == store.stat().st_size
        add(atomic, "right")
        atomic.commit()
    assert names(store) == ["right", "x"]


def test_a_new_store_may_be_aborted_and_staged_again(tmp_path):
    path = tmp_path / "new.h5"
    with AtomicFile.create(path) as atomic:
        for name in ("wrong", "right"):
            with h5py.File(atomic, "w", libver=V110) as file:
                file[name] = 1
            if name == "wrong":
                atomic.abort()
        atomic.commit()
    assert names(path) == ["right"]


def test_a_commit_of_nothing_writes_nothing(store):
    disk = SimulatedDisk(store.parent)
    with AtomicFile.open(store, disk=disk) as atomic:
        before = len(disk.operations)
        with h5py.File(atomic, "r") as file:
            assert file["x"][3] == 3
        atomic.commit()
        assert disk.operations[before:] == []


def test_bytes_from_threads_land_where_hdf5_made_room(store):
    block = np.random.default_rng(1).integers(0, 256, (64, 50_000), np.uint8)
    with AtomicFile.open(store) as atomic:
        with h5py.File(atomic, "r+", libver=V110) as file:
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((block.size,))
            room = h5py.h5d.create(file.id, b"room", h5py.h5t.STD_U8LE, space, plist)
            address = room.get_offset()
            assert address >= atomic.base

            def write(i):
                atomic.pwrite_staged(address + i * 50_000, block[i])

            threads = [threading.Thread(target=write, args=(i,)) for i in range(len(block))]
            for thread in threads:
                thread.start()
            file["meanwhile"] = range(1000)
            for thread in threads:
                thread.join()
            assert atomic.pread(address + 50_000, 10) == block[1, :10].tobytes()
        assert not any(number * 4096 >= atomic.base for number in atomic._staged.pages)
        atomic.commit()
    with h5py.File(store) as file:
        assert np.array_equal(file["room"][:].reshape(block.shape), block)


def test_reopened_in_place_data_larger_than_a_page_is_changed(store):
    with AtomicFile.open(store) as atomic:
        with h5py.File(atomic, "r+", libver=V110) as file:
            file["x"][:] = -np.arange(1000)
            assert np.array_equal(file["x"], -np.arange(1000))
        with h5py.File(store) as file:
            assert np.array_equal(file["x"], np.arange(1000))
        atomic.commit()
    with h5py.File(store) as file:
        assert np.array_equal(file["x"], -np.arange(1000))


@pytest.mark.parametrize("libver", ["earliest", "v108"])
@pytest.mark.parametrize("userblock", [0, 1024])
def test_files_without_flags_and_with_userblocks_are_changed_too(tmp_path, libver, userblock):
    path = tmp_path / "old.h5"
    with h5py.File(path, "w", libver=(libver, "latest"), userblock_size=userblock) as file:
        file["x"] = np.arange(1000)
    with AtomicFile.open(path) as atomic:
        assert atomic.base == path.stat().st_size
        add(atomic, "y")
        atomic.commit()
        add(atomic, "z")
        atomic.commit()
    assert names(path) == ["x", "y", "z"]


@pytest.mark.parametrize("opening", [AtomicFile.open, recover])
def test_what_is_not_a_store_is_refused(tmp_path, opening):
    text, fifo = tmp_path / "text.h5", tmp_path / "fifo"
    text.write_text("not HDF5")
    os.mkfifo(fifo)
    for path in (text, fifo, tmp_path):
        with pytest.raises(NotAStoreError, match="; name a store"):
            opening(path)
    with pytest.raises(StoreMissingError, match="does not exist; check the path"):
        opening(tmp_path / "none.h5")
    assert listing(text) == ["fifo", "text.h5"]


def test_a_store_that_was_cut_short_is_damaged(store):
    os.truncate(store, store.stat().st_size - 10)
    with pytest.raises(StoreDamagedError, match="10 bytes shorter than it says"):
        AtomicFile.open(store)
    assert listing(store) == ["store.h5"]


def test_no_directory_and_no_permission_are_said(tmp_path):
    with pytest.raises(StoreWriteError, match="No such file or directory; create its directory"):
        AtomicFile.create(tmp_path / "none" / "store.h5")
    with pytest.raises(StoreWriteError, match=r"cannot write /proc/store\.h5"):
        AtomicFile.create("/proc/store.h5")
    with pytest.raises(StoreWriteError, match="File name too long; choose a shorter name"):
        AtomicFile.create(tmp_path / ("n" * 254))


def test_the_longest_name_that_has_a_journal_works(tmp_path):
    path = tmp_path / ("n" * 247)
    with AtomicFile.create(path) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = 1
        atomic.commit()
        add(atomic, "y")
        atomic.commit()
    assert names(path) == ["x", "y"]


# Creating never replaces.


def test_an_existing_file_is_never_created_over(store):
    before = store.read_bytes()
    with pytest.raises(TargetExistsError, match="exists; open it instead"):
        AtomicFile.create(store)
    assert store.read_bytes() == before
    assert listing(store) == ["store.h5"]


class WithoutHardLinks(Disk):
    def link(self, source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("disk", [Disk(), WithoutHardLinks()], ids=["links", "no links"])
def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, disk):
    path = tmp_path / "new.h5"
    with AtomicFile.create(path, disk=disk) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = 1
        path.write_text("somebody else's")
        with pytest.raises(StoreConflictError):
            atomic.commit()
    assert path.read_text() == "somebody else's"
    assert listing(path) == ["new.h5"]


def test_a_store_is_created_where_there_are_no_hard_links(tmp_path):
    path = tmp_path / "new.h5"
    with AtomicFile.create(path, disk=WithoutHardLinks()) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = 1
        atomic.commit()
    assert names(path) == ["x"]
    assert listing(path) == ["new.h5"]


def test_temporaries_of_dead_processes_are_removed_and_those_of_living_ones_kept(tmp_path):
    path = tmp_path / "new[1].h5"
    code = (
        "import sys\nfrom vh5d.hdf5.atomic_file import AtomicFile\n"
        "atomic = AtomicFile.create(sys.argv[1])"
    )
    with other_process(code, path) as process:
        with pytest.raises(StoreBusyError):
            AtomicFile.create(path, timeout=0)
        process.kill()
        process.wait()
    (left,) = [name for name in listing(path) if ".tmp-" in name]
    (tmp_path / ".other.h5.tmp-1-0").touch()
    with AtomicFile.create(path):
        assert left not in listing(path)
    assert listing(path) == [".other.h5.tmp-1-0"]


def test_a_second_name_left_by_a_crash_is_removed_at_the_next_opening(store):
    os.link(store, store.with_name(".store.h5.tmp-99-abc"))
    with AtomicFile.open(store):
        assert ".store.h5.tmp-99-abc" not in listing(store)


# Faults of the disk.


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_failed_sync_is_final(store, call):
    probe = SimulatedDisk(store.parent)
    with AtomicFile.open(store, disk=probe) as atomic:
        add(atomic, "y")
        atomic.commit()
    disk = SimulatedDisk(store.parent, fail_at=probe.operations.index(call))
    with AtomicFile.open(store, disk=disk) as atomic:
        add(atomic, "z")
        with pytest.raises(StoreWriteError, match="Input/output error; check the disk"):
            atomic.commit()
        for again in range(2):
            with pytest.raises(StoreWriteError, match="open the store again"):
                atomic.commit()
            atomic.abort()
            add(atomic, f"again{again}")
    assert names(store) == ["x", "y"]


def test_a_full_disk_is_said_and_what_hdf5_wrote_is_not_committed(store):
    before = store.read_bytes()
    probe = SimulatedDisk(store.parent)
    with AtomicFile.open(store, disk=probe) as atomic:
        first = len(probe.operations)
        add(atomic, "y", np.ones(50_000))
    disk = SimulatedDisk(store.parent, fail_at=first, error=errno.ENOSPC, sticky=True)
    with AtomicFile.open(store, disk=disk) as atomic:
        add(atomic, "y", np.ones(50_000))
        assert atomic.error.errno == errno.ENOSPC
        with pytest.raises(
            StoreWriteError, match=r"No space left on device; free space on its disk"
        ):
            atomic.commit()
        with pytest.raises(StoreWriteError):
            atomic.pwrite_staged(atomic.base, b"more")
    os.truncate(store, len(before))
    assert store.read_bytes() == before


def test_what_is_not_hdf5_is_not_committed(store):
    before = store.read_bytes()
    with AtomicFile.open(store) as atomic:
        atomic.write(b"garbage" * 100)
        with pytest.raises(StoreWriteError, match="not an HDF5 file"):
            atomic.commit()
    assert store.read_bytes() == before


def test_an_exception_of_any_kind_in_a_callback_is_kept_for_the_commit(store):
    class Interrupted(Disk):
        def pwrite(self, fd, data, offset):
            raise KeyboardInterrupt

    with AtomicFile.open(store, disk=Interrupted()) as atomic:
        add(atomic, "y", np.ones(1000))
        with pytest.raises(KeyboardInterrupt):
            atomic.commit()
    assert names(store) == ["x"]


def test_a_process_whose_writes_failed_ends_in_peace(store):
    # The error kept held HDF5's buffers by its traceback: a segmentation fault at exit.
    code = """
import h5py, sys
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk

class Full(Disk):
    def pwrite(self, fd, data, offset):
        raise OSError(28, "No space left on device")

atomic = AtomicFile.open(sys.argv[1], disk=Full())
with h5py.File(atomic, "r+") as file:
    file["y"] = range(100_000)
print(atomic.error)
"""
    assert run(code, store) == "[Errno 28] No space left on device"


def test_what_hdf5_writes_after_all_is_closed_goes_nowhere(store, tmp_path):
    atomic = AtomicFile.open(store)
    file = h5py.File(atomic, "r+")
    file["late"] = np.arange(5000)
    atomic.close()
    other = tmp_path / "other"
    # The next files get the descriptors that the store had.
    with other.open("wb"), (tmp_path / "another").open("wb"):
        with contextlib.suppress(OSError, RuntimeError):
            file.close()
        del file
    assert other.read_bytes() == b""
    assert (tmp_path / "another").read_bytes() == b""
    assert names(store) == ["x"]
