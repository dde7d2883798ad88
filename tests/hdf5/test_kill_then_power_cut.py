"""A writer is killed; somebody recovers what it left; then the power goes."""

from __future__ import annotations

import errno
import os

import h5py
import pytest

from tests.support.stores import V110, add, listing, make_store, names
from vh5d.errors import StoreConflictError, StoreWriteError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.recovery import recover
from vh5d.testing.faults import KILLED, Fault, SimulatedDisk, crash_state

CHOICES = range(16)


@pytest.fixture
def store(tmp_path):
    (tmp_path / "disk").mkdir()
    return make_store(tmp_path / "disk" / "store.h5")


def commit(store, disk, name="y"):
    with AtomicFile.open(store, disk=disk) as atomic:
        add(atomic, name, range(500))
        atomic.commit()


def at(disk, kind, suffix, which=0):
    """The number of a call."""
    found = [
        number
        for number, call in enumerate(disk.calls)
        if call.kind == kind and call.name.endswith(suffix)
    ]
    return found[which]


def killed(disk, operation, directory):
    """Lay out what a process killed before an operation left; the disk under it."""
    state = crash_state(disk.start, disk.calls, seed=0, operation=operation, choice=KILLED)
    empty(directory)
    state.write_to(directory)
    return SimulatedDisk(directory, start=state.medium)


def empty(directory):
    for path in directory.iterdir():
        path.unlink()


def after_power_cuts(disk, store, first=0):
    """The bytes of a store that power cuts may leave, each after recovery."""
    states = list(disk.crash_states(seed=1, choices=CHOICES, first=first))
    assert states
    for state in states:
        empty(store.parent)
        state.write_to(store.parent)
        if store.exists():
            with AtomicFile.open(store):
                pass
            yield store.read_bytes()
        else:
            yield None


def test_a_journal_that_was_not_durable_is_made_so_before_it_is_redone(store):
    old, disk = store.read_bytes(), SimulatedDisk(store.parent)
    commit(store, disk)
    new = store.read_bytes()
    after = killed(disk, at(disk, "fsync", "-journal"), store.parent)
    assert recover(store, disk=after) == "redone"
    assert set(after_power_cuts(after, store)) == {old, new}


def test_a_store_that_only_looks_applied_is_made_so_before_the_journal_goes(store):
    disk = SimulatedDisk(store.parent)
    commit(store, disk)
    new = store.read_bytes()
    after = killed(disk, at(disk, "fdatasync", "store.h5", -1), store.parent)
    assert store.read_bytes() == new
    assert recover(store, disk=after) == "redone"
    assert set(after_power_cuts(after, store)) == {new}


def test_what_the_last_sync_lost_is_written_again(store):
    probe = SimulatedDisk(store.parent)
    commit(store, probe)
    new = store.read_bytes()
    empty(store.parent)
    make_store(store)
    fault = Fault(at(probe, "fdatasync", "store.h5", -1), "sync lost")
    disk = SimulatedDisk(store.parent, faults=[fault])
    with pytest.raises(StoreWriteError):
        commit(store, disk)
    assert recover(store, disk=disk) == "redone"
    assert set(after_power_cuts(disk, store, fault.at)) == {new}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_name_that_was_not_durable_is_made_so_by_the_next_writer(tmp_path, links):
    store = tmp_path / "store.h5"
    disk = SimulatedDisk(tmp_path, links=links)
    create(store, disk)
    after = killed(disk, at(disk, "sync_directory", ""), tmp_path)
    with AtomicFile.open(store, disk=after):
        opened = len(after.calls)
    assert listing(store) == ["store.h5"]
    assert None not in set(after_power_cuts(after, store, opened))


def create(store, disk=None):
    with AtomicFile.create(store, disk=disk) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = 1
        atomic.commit()


def test_a_new_store_whose_directory_cannot_be_synced_is_settled_by_the_next_writer(tmp_path):
    store = tmp_path / "store.h5"
    probe = SimulatedDisk(tmp_path)
    create(store, probe)
    store.unlink()
    fault = Fault(at(probe, "sync_directory", ""), "EIO")
    disk = SimulatedDisk(tmp_path, faults=[fault])
    with pytest.raises(StoreWriteError):
        create(store, disk)
    with AtomicFile.open(store, disk=disk):
        opened = len(disk.calls)
    assert None not in set(after_power_cuts(disk, store, opened))


def test_to_abort_does_not_empty_a_store_that_has_its_name(tmp_path):
    class Unsynced(Disk):
        def sync_directory(self, directory):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = tmp_path / "store.h5"
    with AtomicFile.create(store, disk=Unsynced()) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = 1
        with pytest.raises(StoreWriteError):
            atomic.commit()
        atomic.abort()
    assert names(store) == ["x"]


@pytest.mark.parametrize("at", range(4))
def test_without_links_a_kill_never_leaves_an_empty_file_with_the_stores_name(tmp_path, at):
    store = tmp_path / "store.h5"
    disk = SimulatedDisk(tmp_path, links=False)
    create(store, disk)
    renamed = next(i for i, call in enumerate(disk.calls) if call.kind == "rename")
    killed(disk, renamed + at - 1, tmp_path)
    assert not store.exists() or names(store) == ["x"]
    if not store.exists():
        create(store)
    with AtomicFile.open(store):
        pass
    assert listing(store) == ["store.h5"]


class NoLinks(Disk):
    def link(self, source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_without_links_a_store_is_never_renamed_over_somebody_elses(tmp_path):
    store = tmp_path / "store.h5"
    with AtomicFile.create(store, disk=NoLinks()) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = 1
        store.write_bytes(b"precious")
        with pytest.raises(StoreConflictError):
            atomic.commit()
    assert listing(store) == ["store.h5"]
    assert store.read_bytes() == b"precious"


def test_a_removed_journal_does_not_come_back_to_a_new_store(store):
    """One of the same size, made again after the old one was deleted, has the same superblock."""
    disk = SimulatedDisk(store.parent)
    commit(store, disk)
    killed(disk, at(disk, "pwrite", "store.h5", -1), store.parent)
    store.unlink()
    disk = SimulatedDisk(store.parent)
    with AtomicFile.create(store, disk=disk) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = range(1000)
        atomic.commit()
    whole = store.read_bytes()
    assert set(after_power_cuts(disk, store)) == {None, whole}


def test_closing_that_fails_takes_nothing_back(store):
    class Unclosing(Disk):
        def close(self, fd):
            super().close(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    commit(store, Unclosing())
    assert recover(store, disk=Unclosing()) is None
    assert names(store) == ["x", "y"]
