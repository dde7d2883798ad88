"""A store is rewritten without dead space, and holds what it held."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil

import h5py
import numpy as np
import pytest

from tests.support.edits import noise, write_noise
from tests.support.history import History
from tests.support.power_cut import survives
from tests.support.simulated_disk import SimulatedDisk
from vh5d.errors import StoreBusyError, StoreDamagedError, StoreWriteError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.ranges import total
from vh5d.store import layout
from vh5d.store.compact import compact
from vh5d.store.prune import prune
from vh5d.store.reachability import reach_all
from vh5d.store.reader import open_store
from vh5d.store.verify import verify


@pytest.fixture
def history(tmp_path):
    return History(tmp_path)


def drop(history, *names):
    prune(history.store, names)
    for name in names:
        del history.copies[name]


def reached(store):
    with open_store(store) as reader:
        return reach_all(reader.file, reader.read, reader.pools)


def listing(path):
    return sorted(each.name for each in path.parent.iterdir() if path.name in each.name)


def test_every_version_is_what_it_was(history):
    for seed in range(5):
        history.edit(write_noise(seed))
    drop(history, "v2", "v4")
    result = compact(history.store)
    assert result.versions == 3
    history.check()
    assert verify(history.store).ok
    assert listing(history.store) == ["store.h5"]


def test_a_compacted_store_has_what_is_in_use_and_nothing_else(history):
    for seed in range(5):
        history.edit(write_noise(seed))
    with open_store(history.store) as reader:
        before = len(reader.pools["shuffle8-deflate"])
    drop(history, "v1", "v2", "v3")
    result = compact(history.store)
    found = reached(history.store)
    assert total(found.dead) < 100  # a guard behind headers
    assert all(live.all() for live in found.rows.values())
    assert result.chunks == sum(len(live) for live in found.rows.values())
    assert before
    assert result.bytes_after == history.store.stat().st_blocks * 512 < result.bytes_before


def test_what_versions_shared_they_share_still(history):
    def fill(file):
        file.create_dataset("large", data=np.arange(600_000), chunks=(100,))
        file["same/deep"] = noise(5, 9000)

    history.edit(fill)
    for i in range(4):
        history.edit(lambda file, i=i: file["large"].__setitem__(slice(i * 1000, i * 1000 + 9), -1))
    before = reached(history.store)
    compact(history.store)
    after = reached(history.store)
    assert len(after.datasets) == len(before.datasets)
    assert sorted(nodes(before)) == sorted(nodes(after))
    with h5py.File(history.store) as file:
        versions = file[layout.VERSIONS]
        assert versions["v1/same"] == versions["v5/same"]
        assert versions["v1/large"] != versions["v5/large"]
    history.check()


def nodes(found):
    return [
        (family.format.node_size, height, len(layer))
        for family in found.families
        for height, layer in enumerate(family.layers)
    ]


def test_objects_of_every_kind_come_along(history):
    def fill(file):
        file["words"] = ["one", "two", "three"]
        file["table"] = np.zeros(5, [("a", "i4"), ("b", "S3")])
        file["scalar"] = 7
        file["null"] = h5py.Empty("f4")
        file["type"] = np.dtype("f8")
        ordered = file.create_group("ordered", track_order=True)
        for name in "zebra":
            ordered[name] = name
        file["soft"] = h5py.SoftLink("/words")
        file["external"] = h5py.ExternalLink("elsewhere.h5", "/x")
        file.create_dataset("x", data=np.arange(9000), chunks=(1000,), compression="gzip")
        file["x"].attrs["words"] = file["words"].ref
        file["x"].attrs["many"] = noise(1, 5000)
        file["references"] = np.array([file["x"].ref, file["ordered"].ref], h5py.ref_dtype)
        file["scale"] = np.arange(9000)
        file["scale"].make_scale("length")
        file["x"].dims[0].attach_scale(file["scale"])
        file.attrs["note"] = "root"

    history.edit(fill)
    history.edit(lambda file: file["x"].__setitem__(0, 1))
    history.edit(lambda file: file["table"].__setitem__(0, (1, b"x")))
    drop(history, "v2")
    result = compact(history.store)
    assert result.warnings == ()
    history.check()


def test_root_attributes_that_were_kept_aside_come_along(history):
    history.edit(lambda file: file.attrs.__setitem__("prev_version", "the source's own"))
    compact(history.store)
    with h5py.File(history.store) as file:
        aside = file[layout.IMAGES]["v1"][layout.ASIDE]
        assert aside.attrs["prev_version"] == "the source's own"


def test_a_state_kept_by_its_bytes_alone_comes_along(history):
    history.edit(write_noise(1))
    with history.source.open("r+b") as file:
        file.truncate(150_000)
    assert history.capture().kept_as == "bytes"
    copy = history.copies.pop("v2")  # it has no tree to compare
    drop(history, "v1")
    compact(history.store)
    from vh5d.capture.restore import restore

    restore(history.store, "v2", history.directory / "back")
    assert (history.directory / "back").read_bytes() == copy.read_bytes()


def test_captures_go_on_where_they_were(history):
    history.edit(write_noise(1))
    history.edit(write_noise(2))
    drop(history, "v1")
    compact(history.store)
    assert history.capture().version is None
    assert history.edit(write_noise(3)).version == "v3"
    # What was dropped comes back as something new, what was kept does not.
    assert history.edit(write_noise(2)).bytes_added < 50_000
    history.check()


def test_dry_run_changes_nothing(history):
    for seed in range(3):
        history.edit(write_noise(seed))
    drop(history, "v1")
    before = history.store.read_bytes()
    result = compact(history.store, dry_run=True)
    assert result.dry_run
    assert result.bytes_after <= result.bytes_before
    assert history.store.read_bytes() == before
    assert listing(history.store) == ["store.h5"]


def test_permissions_are_kept(history):
    history.edit(write_noise(1))
    history.store.chmod(0o640)
    compact(history.store)
    assert history.store.stat().st_mode & 0o7777 == 0o640


def test_a_userblock_and_what_lies_beside_the_versions_are_kept(tmp_path):
    store = tmp_path / "own.h5"
    with h5py.File(store, "w", libver=layout.LIBVER, userblock_size=1024) as file:
        layout.initialise(file)
        file["mine"] = np.arange(20)
        file.attrs["also"] = "mine"
    with store.open("r+b") as file:
        file.write(b"a word before")
    compact(store)
    assert store.read_bytes()[:13] == b"a word before"
    with h5py.File(store) as file:
        assert file.userblock_size == 1024
        assert (file["mine"][:] == np.arange(20)).all()
        assert file.attrs["also"] == "mine"


def test_a_damaged_store_is_left_alone(history):
    history.edit(write_noise(1))
    with open_store(history.store) as reader:
        address = int(reader.pools["deflate"].table[0, 0])
    with history.store.open("r+b") as file:
        file.seek(address + 100)
        file.write(b"damage")
    before = history.store.read_bytes()
    with pytest.raises(StoreDamagedError, match="cannot be compacted"):
        compact(history.store)
    assert history.store.read_bytes() == before
    assert listing(history.store) == ["store.h5"]


def test_a_reader_delays_compacting_and_reads_on(history):
    history.edit(write_noise(1))
    with open_store(history.store), pytest.raises(StoreBusyError):
        compact(history.store, timeout=0.05)
    assert listing(history.store) == ["store.h5"]
    history.check()


def test_a_reader_that_came_before_reads_the_old_store(history):
    history.edit(write_noise(1))
    with h5py.File(history.store, "r", locking=False) as file:
        compact(history.store)
        assert (file[f"{layout.VERSIONS}/v1/noise"][:] == noise(1, 200_000)).all()


def test_progress_ends_with_everything_copied(history):
    history.edit(write_noise(1))
    seen = []
    compact(history.store, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 190_000


@pytest.fixture(scope="module")
def thinned(tmp_path_factory):
    """A small store from which versions were dropped."""
    history = History(tmp_path_factory.mktemp("thinned"))
    for seed in range(3):
        history.edit(write_noise(seed, 30_000))
    drop(history, "v2")
    return history


def check_after(store, sound):
    """Check a store, but for contents that are known to be `sound`."""
    with AtomicFile.open(store):
        pass  # the next writer removes what was left
    assert listing(store) == ["store.h5"]
    content = store.read_bytes()
    if content in sound:
        return
    sound.add(content)
    found = verify(store)
    assert found.ok, found.problems
    with open_store(store) as reader:
        assert [version.name for version in reader.versions] == ["v1", "v3"]


@pytest.mark.parametrize("kept", [0, 0.5, 1])
def test_power_cut_at_every_operation_leaves_old_or_new(thinned, tmp_path, kept):
    directory = tmp_path / "disk"
    directory.mkdir()
    store = directory / "store.h5"
    original = thinned.store.read_bytes()
    disk = SimulatedDisk(directory)
    store.write_bytes(original)
    compact(store, disk=disk)
    count = len(disk.operations)
    outcomes, sound = set(), set()
    for number in (*range(0, count - 12, max(1, count // 20)), *range(count - 12, count + 1)):
        for path in directory.iterdir():
            path.unlink()
        store.write_bytes(original)
        disk = SimulatedDisk(directory, crash_at=number)
        done = survives(disk, lambda disk=disk: compact(store, disk=disk), kept)
        # Its bytes only change when the new store takes the name; then all of them do.
        old = store.read_bytes() == original
        assert not (done and old)
        outcomes.add("old" if old else "new")
        check_after(store, sound)
    assert outcomes == {"old", "new"}


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_error_at_any_operation_leaves_the_store_as_it_was(thinned, tmp_path, error):
    store = tmp_path / "store.h5"
    shutil.copyfile(thinned.store, store)
    disk = SimulatedDisk(tmp_path)
    compact(store, disk=disk)
    count, sound = len(disk.operations), set()
    for number in (*range(0, count - 6, max(1, count // 12)), *range(count - 6, count)):
        shutil.copyfile(thinned.store, store)
        disk = SimulatedDisk(tmp_path, fail_at=number, error=error)
        with contextlib.suppress(StoreWriteError, StoreDamagedError):
            compact(store, disk=disk, timeout=0.1)
        check_after(store, sound)


def test_a_disk_that_is_full_is_told_of(thinned, tmp_path):
    store = tmp_path / "store.h5"
    shutil.copyfile(thinned.store, store)
    disk = SimulatedDisk(tmp_path, fail_at=3, error=errno.ENOSPC, sticky=True)
    with pytest.raises(StoreWriteError, match=os.strerror(errno.ENOSPC)):
        compact(store, disk=disk)
