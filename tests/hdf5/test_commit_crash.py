"""A commit that crashes, or whose disk fails, at every operation in turn."""

from __future__ import annotations

import contextlib
import errno
import random

import h5py
import numpy as np
import pytest

from tests.support.simulated_disk import PowerCutError, SimulatedDisk
from vh5d.errors import StoreError, VH5DError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.journal import journal_path
from vh5d.hdf5.recovery import recover

V110 = ("v110", "v110")


def write_old(file):
    for i in range(4):
        file.create_dataset(f"first/d{i}", data=np.arange(600) + i, chunks=(100,))
    file["note"] = "old"
    file["last"] = np.arange(4000)


def grow(file):
    file["first/d1"][50:250] = 7
    file["second/x"] = np.ones(3000)
    file["first"].attrs["seen"] = [1, 2, 3]


def shrink(file):
    del file["last"]
    file["first/d2"][:] = -1


def regrow(file):
    del file["last"]
    file.flush()
    file["again"] = np.arange(2000)


def in_place(file):
    file["last"][1000:3000] = 5


CHANGES = [grow, shrink, regrow, in_place]


def everything(file):
    found = {}

    def visit(name, node):
        content = node[()] if isinstance(node, h5py.Dataset) else None
        value = content.tobytes() if isinstance(content, np.ndarray) else content
        found[name] = (value, {k: np.asarray(v).tolist() for k, v in node.attrs.items()})

    file.visititems(visit)
    return found


@pytest.fixture(params=CHANGES, ids=lambda f: f.__name__)
def change(request):
    return request.param


def make_scene(directory, change, libver=V110):
    """A function that lays out a store anew, and what it holds before and after the change."""
    directory.mkdir()
    store = directory / "store.h5"
    with AtomicFile.create(store) as atomic:
        with h5py.File(atomic, "w", libver=libver) as file:
            write_old(file)
        atomic.commit()
    original = store.read_bytes()
    with h5py.File(store) as file:
        old = everything(file)
    staged(store, change)
    with h5py.File(store) as file:
        new = everything(file)
    assert old != new

    def reset():
        for path in directory.iterdir():
            path.unlink()
        store.write_bytes(original)
        return store

    return reset, old, new


@pytest.fixture
def scene(tmp_path, change):
    return make_scene(tmp_path / "disk", change)


def staged(store, change, disk=None):
    """Open, change, commit; True if commit returned."""
    with AtomicFile.open(store, disk=disk, timeout=0.1) as atomic:
        with h5py.File(atomic, "r+") as file:
            change(file)
        atomic.commit()
        return True


def read_plainly(store):
    """What a plain h5py finds; None if it refuses."""
    try:
        file = h5py.File(store, "r")
    except OSError:
        return None
    with file:
        return everything(file)


def check_after(store, old, new, *, committed, where):
    plain = read_plainly(store)
    assert plain is None or plain in (old, new), where
    assert not committed or plain == new, where
    check_recovered(store, old, new, committed=committed, where=where)
    if plain is not None and plain == new:
        assert read_plainly(store) == new, where


def check_recovered(store, old, new, *, committed, where):
    recover(store, timeout=0.1)
    recovered = read_plainly(store)
    assert recovered in (old, new), where
    assert not committed or recovered == new, where
    with AtomicFile.open(store, timeout=0.1) as atomic:
        assert atomic.base == store.stat().st_size, where
    assert sorted(p.name for p in store.parent.iterdir()) == ["store.h5"], where


def operations_of(reset, change, **options):
    store = reset()
    disk = SimulatedDisk(store.parent, **options)
    staged(store, change, disk)
    return disk.operations


@pytest.mark.parametrize("kept", [0, 0.5, 0.9, 1])
def test_power_cut_at_every_operation_leaves_old_or_new(scene, change, kept):
    reset, old, new = scene
    outcomes = set()
    for number in range(len(operations_of(reset, change)) + 1):
        store = reset()
        disk = SimulatedDisk(store.parent, crash_at=number)
        committed = False
        with contextlib.suppress(PowerCutError):
            committed = staged(store, change, disk)
        disk.lose_power(random.Random(number), kept)
        outcomes.add(repr(read_plainly(store))[:40])
        check_after(store, old, new, committed=committed, where=(number, disk.operations[-1]))
    assert len(outcomes) > 1


def test_killed_at_every_operation_leaves_old_or_new(scene, change):
    reset, old, new = scene
    found = set()
    for number in range(len(operations_of(reset, change))):
        store = reset()
        disk = SimulatedDisk(store.parent, crash_at=number)
        with pytest.raises(PowerCutError):
            staged(store, change, disk)
        plain = read_plainly(store)
        found.add("refused" if plain is None else "old" if plain == old else "new")
        check_after(store, old, new, committed=False, where=(number, disk.operations[-1]))
    assert found == {"refused", "old", "new"}


@pytest.mark.parametrize("kept", [0, 0.5, 0.9])
@pytest.mark.parametrize("change", [grow, shrink], ids=lambda f: f.__name__)
def test_before_version_3_recovery_finds_old_or_new(tmp_path, change, kept):
    # There is no flag that keeps plain HDF5 out meanwhile.
    reset, old, new = make_scene(tmp_path / "disk", change, ("earliest", "v108"))
    for number in range(len(operations_of(reset, change))):
        store = reset()
        disk = SimulatedDisk(store.parent, crash_at=number)
        with pytest.raises(PowerCutError):
            staged(store, change, disk)
        disk.lose_power(random.Random(number), kept)
        check_recovered(store, old, new, committed=False, where=number)


@pytest.mark.parametrize("change", [grow, shrink], ids=lambda f: f.__name__)
def test_before_version_3_an_error_leaves_old_or_new(tmp_path, change):
    reset, old, new = make_scene(tmp_path / "disk", change, ("earliest", "v108"))
    for number in range(len(operations_of(reset, change))):
        store = reset()
        disk = SimulatedDisk(store.parent, fail_at=number)
        committed = False
        with contextlib.suppress(StoreError):
            committed = staged(store, change, disk)
        check_recovered(store, old, new, committed=committed, where=number)


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_power_cut_after_an_error_leaves_old_or_new(tmp_path, kept):
    reset, old, new = make_scene(tmp_path / "disk", grow)
    operations = operations_of(reset, grow)
    first = operations.index("fdatasync")
    for failure in range(first, len(operations)):
        for later in range(1, 9, 2):
            store = reset()
            disk = SimulatedDisk(store.parent, fail_at=failure, crash_at=failure + later)
            committed = False
            with contextlib.suppress(StoreError, PowerCutError):
                committed = staged(store, grow, disk)
            disk.lose_power(random.Random(later), kept)
            check_after(store, old, new, committed=committed, where=(failure, later))


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_error_at_every_operation_leaves_old_or_new(scene, change, error, sticky):
    reset, old, new = scene
    refused = 0
    for number in range(len(operations_of(reset, change))):
        store = reset()
        disk = SimulatedDisk(store.parent, fail_at=number, error=error, sticky=sticky)
        committed = False
        try:
            committed = staged(store, change, disk)
        except StoreError:
            refused += 1
        check_after(store, old, new, committed=committed, where=(number, disk.operations[-1]))
    assert refused > 5


def test_error_at_every_read_leaves_old_or_new(scene, change):
    reset, old, new = scene
    operations = operations_of(reset, change, reads=True)
    for number in [i for i, name in enumerate(operations) if name == "preadv"]:
        store = reset()
        disk = SimulatedDisk(store.parent, fail_at=number, reads=True)
        committed = False
        # HDF5 finds zeros and says so in its own ways.
        with contextlib.suppress(VH5DError, OSError, KeyError, RuntimeError, ValueError):
            committed = staged(store, change, disk)
        check_after(store, old, new, committed=committed, where=number)


def test_a_journal_taken_back_never_meets_a_store_whose_tail_was_cut(tmp_path):
    reset, old, _new = make_scene(tmp_path / "disk", grow)
    named = operations_of(reset, grow).index("sync_directory")
    for seed in range(40):
        store = reset()
        disk = SimulatedDisk(store.parent, fail_at=named)
        with pytest.raises(StoreError):
            staged(store, grow, disk)
        assert read_plainly(store) == old
        disk.lose_power(random.Random(seed), 0.5)
        check_after(store, old, old, committed=False, where=seed)


def test_full_disk_while_the_journal_is_written_leaves_a_store_that_plain_h5py_reads(scene, change):
    reset, old, _new = scene
    operations = operations_of(reset, change)
    journal = operations.index("open")
    store = reset()
    disk = SimulatedDisk(store.parent, fail_at=journal + 1, error=errno.ENOSPC)
    with pytest.raises(StoreError, match="No space left on device; free space"):
        staged(store, change, disk)
    assert read_plainly(store) == old
    assert not journal_path(store).exists()


def test_full_disk_while_pages_are_applied_is_redone_by_recovery(scene, change):
    reset, _old, new = scene
    operations = operations_of(reset, change)
    applied = operations.index("sync_directory") + 3
    store = reset()
    disk = SimulatedDisk(store.parent, fail_at=applied, error=errno.ENOSPC)
    with pytest.raises(StoreError):
        staged(store, change, disk)
    assert read_plainly(store) is None
    assert journal_path(store).exists()
    assert recover(store) == "redone"
    assert read_plainly(store) == new


@pytest.mark.parametrize("kept", [0, 0.5, 1])
def test_power_cut_during_recovery_is_recovered_from(scene, change, kept):
    reset, old, new = scene
    for journal_point in (0, 2, 6):
        store = reset()
        start = operations_of(reset, change).index("sync_directory")
        store = reset()
        disk = SimulatedDisk(store.parent, crash_at=start + journal_point)
        with pytest.raises(PowerCutError):
            staged(store, change, disk)
        halfway = {p: p.read_bytes() for p in store.parent.iterdir()}
        number, finished = 0, False
        while not finished:
            for path in store.parent.iterdir():
                path.unlink()
            for path, content in halfway.items():
                path.write_bytes(content)
            disk = SimulatedDisk(store.parent, crash_at=number)
            try:
                recover(store, disk=disk)
                finished = True
            except PowerCutError:
                disk.lose_power(random.Random(number), kept)
            check_after(store, old, new, committed=False, where=(journal_point, number))
            number += 1
        assert number > 3


def created(store, disk=None):
    with AtomicFile.create(store, disk=disk) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            write_old(file)
        atomic.commit()
        return True


@pytest.mark.parametrize("kept", [0, 0.5, 1])
def test_power_cut_while_a_store_is_created_leaves_none_or_a_whole_one(tmp_path, kept):
    number, finished, outcomes = 0, False, set()
    while not finished:
        directory = tmp_path / str(number)
        directory.mkdir()
        store = directory / "store.h5"
        disk = SimulatedDisk(directory, crash_at=number)
        with contextlib.suppress(PowerCutError):
            finished = created(store, disk)
        disk.lose_power(random.Random(number), kept)
        outcomes.add(store.exists())
        assert store.exists() or not finished
        if not store.exists():
            created(store)
        with h5py.File(store) as file:
            assert file["note"].asstr()[()] == "old"
        with AtomicFile.open(store):
            pass
        left = [p.name for p in directory.iterdir() if p != store]
        assert all(".tmp-" in name for name in left)
        assert not finished or kept < 1 or not left
        number += 1
    assert outcomes == {False, True}


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_error_while_a_store_is_created_leaves_none_or_a_whole_one(tmp_path, error):
    number, finished = 0, False
    while not finished:
        directory = tmp_path / str(number)
        directory.mkdir()
        store = directory / "store.h5"
        disk = SimulatedDisk(directory, fail_at=number, error=error)
        with contextlib.suppress(StoreError):
            created(store, disk)
            finished = len(disk.operations) <= number
        if not store.exists():
            created(store)
        assert read_plainly(store)["note"][0] == b"old"
        number += 1
    assert number > 10
