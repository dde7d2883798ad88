"""What a crash leaves is brought to its end, or taken back, whoever comes next."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading

import h5py
import pytest

from tests.support.other_process import other_process, run
from tests.support.stores import V110, add, listing, make_store, names
from vh5d.errors import (
    StoreBusyError,
    StoreDamagedError,
    StoreWriteError,
)
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.journal import journal_path
from vh5d.hdf5.recovery import recover
from vh5d.hdf5.superblock import parse_superblock
from vh5d.testing.faults import KILLED, Fault, SimulatedDisk, crash_state

READ = "import h5py, sys\nfile = h5py.File(sys.argv[1], 'r', locking=True)"


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store.h5")


def test_recover_does_nothing_to_a_store_at_rest_and_locks_nothing(store):
    assert recover(store) is None
    with AtomicFile.open(store) as atomic:
        add(atomic, "y")
        assert recover(store, timeout=0) is None
        atomic.commit()
    assert names(store) == ["x", "y"]


def test_a_flag_that_a_crash_left_is_cleared(store):
    content = store.read_bytes()
    marked = parse_superblock(content).with_status_flags(1)
    for opening in (lambda: recover(store), lambda: recovered_by_open(store)):
        store.write_bytes(marked + content[len(marked) :])
        assert opening() == "dropped"
        assert store.read_bytes() == content


def recovered_by_open(store):
    with AtomicFile.open(store) as atomic:
        return atomic.recovered


def test_half_a_journal_is_dropped(store):
    before = store.read_bytes()
    journal_path(store).write_bytes(b"VH5DJRNL" + bytes(5000))
    assert recover(store) == "dropped"
    assert listing(store) == ["store.h5"]
    assert store.read_bytes() == before


class KeepsJournal(Disk):
    """Cannot remove a journal: it is found again later."""

    def unlink(self, path):
        if path.name.endswith("-journal"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().unlink(path)


def test_a_journal_that_could_not_be_removed_does_not_undo_the_commit(store):
    with AtomicFile.open(store, disk=KeepsJournal()) as atomic:
        add(atomic, "y")
        atomic.commit()
        assert names(store) == ["x", "y"]
        with pytest.raises(StoreWriteError):
            atomic.commit()
    assert recover(store) == "redone"
    assert names(store) == ["x", "y"]


def test_a_stray_journal_is_never_applied_to_another_state(store):
    with AtomicFile.open(store, disk=KeepsJournal()) as atomic:
        add(atomic, "y")
        atomic.commit()
    stray = journal_path(store).read_bytes()
    with AtomicFile.open(store) as atomic:
        add(atomic, "z", range(1000))
        atomic.commit()
    later = store.read_bytes()
    journal_path(store).write_bytes(stray)
    assert recover(store) == "dropped"
    assert store.read_bytes() == later


def test_a_journal_without_its_store_is_not_applied_to_a_new_one(tmp_path):
    path = tmp_path / "new.h5"
    journal_path(path).write_bytes(b"VH5DJRNL")
    with AtomicFile.create(path) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = 1
        atomic.commit()
    assert listing(path) == ["new.h5"]


def test_recovery_waits_for_a_reader_and_names_it(store):
    journal_path(store).write_bytes(b"VH5DJRNL")
    with other_process(READ, store) as process, pytest.raises(StoreBusyError) as told:
        recover(store, timeout=0.05)
    assert "must be recovered but is held open by python" in str(told.value)
    assert f"(pid {process.pid})" in str(told.value)
    assert recover(store) == "dropped"


def test_a_commit_of_a_killed_process_is_finished_by_the_next_reader(store):
    code = """
import h5py, os, signal, sys
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk

class Killed(Disk):
    def ftruncate(self, fd, size):
        os.kill(os.getpid(), signal.SIGKILL)

atomic = AtomicFile.open(sys.argv[1], disk=Killed())
with h5py.File(atomic, "r+") as file:
    file["y"] = 1
atomic.commit()
"""
    assert run(code, store) == f"killed by signal {int(signal.SIGKILL)}"
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(store)
    assert recover(store) == "redone"
    assert names(store) == ["x", "y"]
    assert listing(store) == ["store.h5"]


def test_a_superblock_torn_while_it_was_written_is_written_again(store):
    before = store.read_bytes()
    with AtomicFile.open(store, disk=KeepsJournal()) as atomic:
        add(atomic, "y")
        atomic.commit()
    after = store.read_bytes()
    for torn in range(1, 48):
        store.write_bytes(after[:torn] + before[torn:48] + after[48:])
        journal = journal_path(store).read_bytes()
        assert recover(store) == "redone"
        assert store.read_bytes() == after
        journal_path(store).write_bytes(journal)


def test_a_damaged_superblock_is_told(store):
    content = bytearray(store.read_bytes())
    content[30] ^= 1
    store.write_bytes(content)
    with pytest.raises(StoreDamagedError, match="damaged superblock; restore it from a backup"):
        recover(store)


def test_recovery_in_turns_does_it_once(store):
    journal_path(store).write_bytes(b"VH5DJRNL")
    code = "import sys\nfrom vh5d.hdf5.recovery import recover\nprint(recover(sys.argv[1]))"
    found = []
    threads = [threading.Thread(target=lambda: found.append(run(code, store))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) in (["None", "None", "dropped"], ["None", "None", "None"])
    assert names(store) == ["x"]


def test_a_journal_is_no_more_readable_than_its_store(store):
    store.chmod(0o600)
    with AtomicFile.open(store, disk=KeepsJournal()) as atomic:
        add(atomic, "y")
        atomic.commit()
    assert journal_path(store).stat().st_mode & 0o777 == 0o600


def test_a_journal_whose_removal_failed_never_meets_a_store_whose_tail_was_cut(tmp_path):
    """The campaign of crash states found it: a full disk, then recovery, then a power cut, and a
    journal was back that led into bytes which recovery had cut off."""
    directory = tmp_path / "disk"
    directory.mkdir()
    store = make_store(directory / "store.h5")
    disk = SimulatedDisk(directory)
    refuse(store, disk)
    first = next(i for i, call in enumerate(disk.calls) if call.kind == "sync_directory")
    disk = SimulatedDisk(directory, faults=[Fault(first, "ENOSPC", sticky=True)])
    with pytest.raises(StoreWriteError):
        refuse(store, disk)
    died = crash_state(disk.start, disk.calls, seed=0, operation=len(disk.calls), choice=KILLED)
    again = SimulatedDisk(directory, start=died.medium)
    assert recover(store, disk=again) == "dropped"
    for state in again.crash_states(seed=1, choices=range(40)):
        laid = tmp_path / "laid"
        shutil.rmtree(laid, ignore_errors=True)
        laid.mkdir()
        state.write_to(laid)
        recover(laid / "store.h5")
        with h5py.File(laid / "store.h5", "r") as file:
            if "y" in file:
                assert file["y"][:].tolist() == list(range(5000)), state


def refuse(store, disk):
    """Try a commit; what is there before it is there after it."""
    before = store.read_bytes()
    with AtomicFile.open(store, disk=disk) as atomic:
        add(atomic, "y", range(5000))
        atomic.commit()
    store.write_bytes(before)
