"""One writer at a time, readers with plain h5py, and who is who."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import h5py
import numpy as np
import pytest

from tests.support.other_process import other_process, run
from tests.support.stores import add, listing, make_store, names
from vh5d.errors import (
    StoreBusyError,
    StoreConflictError,
    StoreWriteError,
)
from vh5d.hdf5 import writer_lock
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.locks import deadline_after, held_locks, try_lock
from vh5d.hdf5.temporary import make_temporary, remove_stale
from vh5d.hdf5.writer_lock import WriterLock, lock_path

READ = "import h5py, sys\nfile = h5py.File(sys.argv[1], 'r', locking=True)"
OPEN = """
import sys
from vh5d.hdf5.atomic_file import AtomicFile
atomic = AtomicFile.open(sys.argv[1], timeout=float(sys.argv[2]))
"""
STAGE = (
    OPEN
    + """
import h5py
file = h5py.File(atomic, "r+")
file["staged"] = range(100_000)
file.flush()
"""
)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store.h5")


def test_a_second_writer_waits_and_is_told_who_has_it(store):
    with other_process(OPEN, store, 1) as process:
        started = time.monotonic()
        with pytest.raises(StoreBusyError) as told:
            AtomicFile.open(store, timeout=0.2)
        assert 0.2 <= time.monotonic() - started < 2
        assert f"(pid {process.pid}) on {os.uname().nodename} since 20" in str(told.value)
        assert told.value.retryable
    with AtomicFile.open(store, timeout=5):
        assert json.loads(lock_path(store).read_text())["process"].endswith(f"(pid {os.getpid()})")
    assert listing(store) == ["store.h5"]


def test_the_lock_goes_with_a_killed_writer_and_its_garbage_is_cut(store):
    before = store.read_bytes()
    with other_process(STAGE, store, 1) as process:
        assert store.stat().st_size > len(before)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert names(store) == ["x"]
    with AtomicFile.open(store, timeout=0) as atomic:
        assert atomic.recovered == "cut"
    assert store.read_bytes() == before


def test_many_processes_taking_turns_lose_nothing(store):
    code = """
import h5py, sys
from vh5d.hdf5.atomic_file import AtomicFile
for i in range(15):
    with AtomicFile.open(sys.argv[1], timeout=60) as atomic:
        with h5py.File(atomic, "r+") as file:
            file[f"{sys.argv[2]}-{i}"] = i
        atomic.commit()
"""
    threads = [threading.Thread(target=run, args=(code, store, name)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(store)) == 1 + 3 * 15
    assert listing(store) == ["store.h5"]


def test_the_store_may_be_named_by_a_symbolic_link(store, tmp_path):
    elsewhere = tmp_path / "links"
    elsewhere.mkdir()
    link = elsewhere / "link.h5"
    link.symlink_to(store)
    with AtomicFile.open(link) as atomic:
        with pytest.raises(StoreBusyError):
            AtomicFile.open(store, timeout=0)
        add(atomic, "y")
        atomic.commit()
    assert link.is_symlink()
    assert names(store) == ["x", "y"]


# Readers with plain h5py.


def test_a_reader_delays_a_commit_and_is_named(store):
    with AtomicFile.open(store, timeout=0.1) as atomic:
        add(atomic, "y")
        with other_process(READ, store) as process:
            with pytest.raises(StoreBusyError, match=f"held open by python.*pid {process.pid}"):
                atomic.commit()
            assert names(store) == ["x"]
        atomic.commit()
    assert names(store) == ["x", "y"]


def test_a_reader_in_this_process_delays_a_commit_too(store):
    with AtomicFile.open(store, timeout=0.05) as atomic:
        add(atomic, "y")
        named = f"pid {os.getpid()}"
        with h5py.File(store, locking=True), pytest.raises(StoreBusyError, match=named):
            atomic.commit()
        atomic.commit()
    assert names(store) == ["x", "y"]


def test_a_commit_waits_for_a_reader_that_closes_in_time(store):
    with AtomicFile.open(store, timeout=20) as atomic:
        add(atomic, "y")
        with other_process(READ, store) as process:
            commit = threading.Thread(target=atomic.commit)
            commit.start()
            process.stdin.write("\n")
            process.stdin.flush()
            commit.join()
    assert names(store) == ["x", "y"]


def test_somebody_who_writes_without_knowing_of_vh5d_is_kept_out_while_we_stage(store):
    write = "import h5py, sys\nh5py.File(sys.argv[1], 'r+', locking=True)"
    with AtomicFile.open(store) as atomic:
        assert "unable to lock file" in run(write, store)
        add(atomic, "y")
        atomic.commit()
        assert "unable to lock file" in run(write, store)
    assert run(write, store) == ""


def test_a_foreign_writer_keeps_us_out_and_is_named(store):
    write = "import h5py, sys\nfile = h5py.File(sys.argv[1], 'r+', locking=True)"
    with other_process(write, store) as process, pytest.raises(StoreBusyError) as told:
        AtomicFile.open(store, timeout=0.1)
    assert f"(pid {process.pid})" in str(told.value)
    with AtomicFile.open(store) as atomic:
        assert atomic.recovered is None


def test_a_store_changed_behind_our_back_is_a_conflict_and_stays_as_it_is(store):
    write = """
import h5py, sys
with h5py.File(sys.argv[1], "r+", locking=False) as file:
    file["foreign"] = range(1000)
"""
    with AtomicFile.open(store) as atomic:
        add(atomic, "y")
        assert run(write, store) == ""
        with pytest.raises(StoreConflictError, match="changed by somebody else"):
            atomic.commit()
        with pytest.raises(StoreWriteError, match="open the store again"):
            atomic.commit()
    with h5py.File(store) as file:
        assert sorted(file) == ["foreign", "x"]
        assert np.array_equal(file["foreign"], range(1000))


def test_only_the_store_and_its_lock_file_are_ever_locked(store):
    with AtomicFile.open(store):
        mine = {lock.inode for lock in held_locks() if lock.pid == os.getpid()}
        assert mine == {store.stat().st_ino, lock_path(store).stat().st_ino}
    assert not [lock for lock in held_locks() if lock.inode == store.stat().st_ino]


def test_a_lock_file_removed_between_opening_and_locking_it_is_not_taken(store, monkeypatch):
    owners = [WriterLock.acquire(store, 0)]

    def lock_after_its_release(fd, operation):
        while owners:
            owners.pop().release()
        return try_lock(fd, operation)

    with monkeypatch.context() as patch:
        # The real lock, at the worst moment.
        patch.setattr(writer_lock, "try_lock", lock_after_its_release)
        second = WriterLock.acquire(store, deadline_after(10))
    with pytest.raises(StoreBusyError):
        WriterLock.acquire(store, 0)
    second.release()
    assert listing(store) == ["store.h5"]


def test_a_temporary_file_is_stale_when_nobody_has_it_open(tmp_path):
    path = tmp_path / "new.h5"
    temporary, fd = make_temporary(Disk(), path, 0o600)
    remove_stale(Disk(), path)
    assert temporary.exists()
    os.close(fd)
    remove_stale(Disk(), path)
    assert not temporary.exists()
