"""Versions go, what the others need stays, and the space comes back."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.edits import OPERATIONS, apply, noise, write_noise
from tests.support.history import History, sha256
from tests.support.simulated_disk import PowerCutError, SimulatedDisk
from vh5d.capture.capture import capture
from vh5d.capture.restore import restore
from vh5d.errors import StoreBusyError, StoreMissingError, UsageError, VersionNotFoundError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.store import layout
from vh5d.store.compact import compact
from vh5d.store.dropping import select
from vh5d.store.prune import prune
from vh5d.store.reader import open_store
from vh5d.store.transaction import begin
from vh5d.store.verify import verify

SLACK = 4 * 4096  # what HDF5 itself adds or frees while the versions go


@pytest.fixture
def history(tmp_path):
    return History(tmp_path)


def prune_history(history, chosen, **options):
    result = prune(history.store, chosen, **options)
    if not result.dry_run:
        for name in result.dropped:
            del history.copies[name]
    return result


def names(store):
    with open_store(store) as reader:
        return [version.name for version in reader.versions]


def parents(store):
    with open_store(store) as reader:
        return {version.name: version.prev_version for version in reader.versions}


def current(store):
    with h5py.File(store) as file:
        return file[layout.VERSIONS].attrs["current_version"]


def used(path):
    return path.stat().st_blocks * 512


def test_dropped_versions_are_gone_and_the_others_are_as_they_were(history):
    for seed in range(5):
        history.edit(write_noise(seed))
    result = prune_history(history, ["v2", "v4"])
    assert (result.dropped, result.kept) == (("v2", "v4"), ("v1", "v3", "v5"))
    assert names(history.store) == ["v1", "v3", "v5"]
    history.check()
    assert verify(history.store).ok


def test_space_of_dropped_versions_comes_back(history):
    for seed in range(5):
        history.edit(write_noise(seed))
    os.sync()
    before = used(history.store)
    result = prune_history(history, ["v1", "v2", "v3"])
    assert result.returned
    assert result.bytes_returned > 3 * 190_000
    assert abs(before - used(history.store) - result.bytes_returned) <= SLACK


def test_dry_run_changes_nothing_and_says_what_pruning_does(history):
    for seed in range(4):
        history.edit(write_noise(seed))
    before = history.store.read_bytes()
    foreseen = prune_history(history, ["v2", "v3"], dry_run=True)
    assert history.store.read_bytes() == before
    done = prune_history(history, ["v2", "v3"])
    assert foreseen.dry_run
    for each in ("dropped", "kept", "chunks_dropped", "bytes_returned", "hint"):
        assert getattr(foreseen, each) == getattr(done, each), each


def test_chunks_that_other_versions_share_stay(history):
    history.edit(write_noise(1))
    history.edit(lambda file: file["noise"].__setitem__(slice(0, 10), 7))
    history.edit(lambda file: file["noise"].__setitem__(slice(0, 10), 8))
    result = prune_history(history, ["v2"])
    assert 1 <= result.chunks_dropped <= 3  # one of the data, some of the pages
    history.check()


def test_indexes_and_headers_that_other_versions_share_stay(history):
    def fill(file):
        file.create_dataset("large", data=noise(1, 300_000), chunks=(100,))
        for i in range(150):
            file.create_dataset(f"many/{i}", (1000,), "f8", chunks=(10,))

    history.edit(fill)
    history.edit(lambda file: file["large"].__setitem__(slice(0, 10), 7))
    history.edit(lambda file: file["many/70"].attrs.__setitem__("unit", "mm"))
    prune_history(history, ["v1", "v2"])
    history.check()
    assert verify(history.store).ok


def test_many_versions_thinned_to_one(history):
    for i in range(25):
        history.edit(lambda file, i=i: file.require_dataset("x", (3,), "i8").__setitem__(0, i))
    prune_history(history, lambda version: version.sequence != 12)
    history.check()
    assert verify(history.store).ok


def test_a_dropped_chunk_that_comes_back_is_stored_anew(history):
    history.edit(write_noise(1))
    history.edit(write_noise(2))
    history.edit(write_noise(3))
    prune_history(history, ["v2"])
    result = history.edit(write_noise(2))
    assert result.bytes_added > 190_000
    history.check()
    assert verify(history.store).ok


def test_pruning_again_returns_nothing_and_changes_nothing(history):
    for seed in range(4):
        history.edit(write_noise(seed))
    prune_history(history, ["v2", "v3"])
    again = prune_history(history, [])
    assert (again.dropped, again.chunks_dropped) == ((), 0)
    assert again.bytes_returned <= SLACK
    history.check()


def test_empty_spaces_do_not_pile_up(history):
    for seed in range(6):
        history.edit(write_noise(seed))
    prune_history(history, lambda version: version.sequence < 6)
    with h5py.File(history.store) as file:
        spaces = file[layout.SPACES]
        # Those of the version that stays, and what it shares with the first.
        assert len(spaces) <= 5
    history.check()


def test_a_predicate_chooses_by_what_is_known_of_versions(history):
    for seed in range(4):
        history.edit(write_noise(seed, 1000))
    prune_history(history, lambda version: version.sequence % 2 == 1)
    assert names(history.store) == ["v2", "v4"]
    history.check()


def test_next_capture_builds_on_the_nearest_version_that_stayed(history):
    for seed in range(3):
        history.edit(write_noise(seed))
    prune_history(history, ["v3"])
    assert current(history.store) == "v2"
    history.edit(write_noise(9))
    assert parents(history.store)["v4"] == "v2"
    history.check()


def branch(store, *edges):
    """Make empty versions, each of which has a parent."""
    time = datetime(2026, 1, 1, tzinfo=UTC)
    with begin(store) as transaction:
        for name, parent in edges:
            transaction.file[layout.VERSIONS].create_group(name)
            time += timedelta(seconds=1)
            transaction.finish_version(name, previous=parent, timestamp=time)
        transaction.commit()


def test_children_of_dropped_versions_get_the_nearest_kept_ancestor(tmp_path):
    store = tmp_path / "store.h5"
    first = layout.FIRST_VERSION
    branch(store, ("a", first), ("b", "a"), ("c", "b"), ("d", "b"), ("e", "a"), ("f", "d"))
    prune(store, ["b", "d"])
    assert parents(store) == {"a": first, "c": "a", "e": "a", "f": "a"}
    assert current(store) == "f"
    prune(store, ["a", "f"])
    assert parents(store) == {"c": first, "e": first}
    assert current(store) == "e"  # no ancestor is left: the newest


def test_a_version_without_a_parent_has_none_to_pass_on(tmp_path):
    store = tmp_path / "store.h5"
    branch(store, ("a", ""), ("b", "a"), ("c", "b"))
    prune(store, ["a", "b"])
    assert parents(store) == {"c": ""}


def test_the_last_version_stays_unless_told(tmp_path):
    store = tmp_path / "store.h5"
    branch(store, ("a", layout.FIRST_VERSION), ("b", "a"))
    with pytest.raises(UsageError, match="no version would be left"):
        prune(store, ["a", "b"])
    assert names(store) == ["a", "b"]
    prune(store, ["a", "b"], allow_empty=True)
    assert names(store) == []
    assert current(store) == layout.FIRST_VERSION


def test_a_store_that_was_emptied_takes_captures(history):
    history.edit(write_noise(1))
    prune_history(history, lambda _: True, allow_empty=True)
    assert history.capture().version == "v2"
    history.check()


def test_unknown_versions_and_stores_are_refused(tmp_path):
    store = tmp_path / "store.h5"
    branch(store, ("a", layout.FIRST_VERSION))
    with pytest.raises(VersionNotFoundError, match="no version 'z'"):
        prune(store, ["z"])
    with pytest.raises(StoreMissingError):
        prune(tmp_path / "none.h5", ["a"])


def test_a_single_name_is_not_taken_for_letters(tmp_path):
    store = tmp_path / "store.h5"
    branch(store, ("ab", layout.FIRST_VERSION), ("a", "ab"), ("b", "a"))
    with h5py.File(store) as file:
        assert select(file, "ab").dropped == ("ab",)


def test_what_is_linked_elsewhere_stays(history):
    history.edit(write_noise(1))
    history.edit(write_noise(2))
    with AtomicFile.open(history.store) as atomic:
        with h5py.File(atomic, "r+", libver=layout.LIBVER) as file:
            file["mine"] = file[f"{layout.VERSIONS}/v1/noise"]
        atomic.commit()
    prune_history(history, ["v1"])
    with h5py.File(history.store) as file:
        assert (file["mine"][:] == noise(1, 200_000)).all()


def test_a_reader_delays_pruning(history):
    history.edit(write_noise(1))
    history.edit(write_noise(2))
    with open_store(history.store), pytest.raises(StoreBusyError):
        prune(history.store, ["v1"], timeout=0.05)
    assert names(history.store) == ["v1", "v2"]


class WithoutHoles(SimulatedDisk):
    """A file system that cannot punch holes."""

    def punch(self, fd, offset, nbytes):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_without_holes_it_says_so_and_a_later_prune_returns_the_space(history):
    for seed in range(3):
        history.edit(write_noise(seed))
    result = prune_history(history, ["v1", "v2"], disk=WithoutHoles(history.directory))
    assert not result.returned
    assert "vh5d compact" in result.hint
    assert result.bytes_returned <= SLACK
    assert result.bytes_left > 2 * 190_000
    history.check()
    later = prune_history(history, [])
    assert later.bytes_returned > 2 * 190_000
    assert later.bytes_left < 20_000
    history.check()


def test_progress_ends_with_everything_returned(history):
    for seed in range(3):
        history.edit(write_noise(seed))
    seen = []
    prune_history(history, ["v1"], progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(OPERATIONS)
def test_whatever_is_dropped_whenever_the_rest_is_as_it_was(operations):
    with tempfile.TemporaryDirectory() as directory:
        history = History(Path(directory))
        for operation in operations:
            if operation[0] == "thin":
                if history.copies:
                    going = some(history.copies, operation[1])
                    assert set(prune_history(history, going).dropped) == going
                    assert prune(history.store, []).bytes_returned <= SLACK
            elif operation[0] == "compact":
                if history.copies:
                    compact(history.store)
            else:
                history.edit(lambda file, operation=operation: apply(file, operation))
        history.check()
        if history.copies:
            assert names(history.store) == list(history.copies)
            found = verify(history.store)
            assert found.ok, found.problems


def some(names, seed):
    """Return some of the names, never all."""
    chance = random.Random(seed)
    chosen = {name for name in names if chance.random() < 0.5}
    return chosen if len(chosen) < len(names) else chosen - {next(iter(chosen))}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A store of five versions, and a copy of each."""
    history = History(tmp_path_factory.mktemp("small"))
    for seed in range(5):
        history.edit(write_noise(seed, 30_000))
    return history


GOING = ("v2", "v4")


def check_after_crash(store, where, known):
    """Check a store, but for contents that are known to be sound; return its versions."""
    with open_store(store):
        pass  # which recovers it
    content = store.read_bytes()
    if content not in known:
        found = verify(store)
        assert found.ok, (where, found.problems)
        left = known[content] = names(store)
        assert left in (["v1", "v2", "v3", "v4", "v5"], ["v1", "v3", "v5"]), where
    return known[content]


@pytest.mark.parametrize("kept", [0, 0.5, 1])
def test_power_cut_at_every_operation_leaves_old_or_new(small, tmp_path, kept):
    directory = tmp_path / "disk"
    directory.mkdir()
    store = directory / "store.h5"
    known, number, finished = {}, 0, False
    while not finished:
        for path in directory.iterdir():
            path.unlink()
        shutil.copyfile(small.store, store)
        disk = SimulatedDisk(directory, crash_at=number)
        with contextlib.suppress(PowerCutError):
            prune(store, GOING, disk=disk, timeout=0.1)
            finished = True
        disk.lose_power(random.Random(number), kept)
        seen = len(known)
        left = check_after_crash(store, (number, disk.operations[-1]), known)
        if len(known) > seen:
            prune(store, [name for name in GOING if name in left])
            assert names(store) == ["v1", "v3", "v5"]
        number += 1
    assert {len(left) for left in known.values()} == {3, 5}
    assert disk.operations.count("punch") >= 2


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_error_at_every_operation_leaves_old_or_new(small, tmp_path, error):
    directory = tmp_path / "disk"
    directory.mkdir()
    store = directory / "store.h5"
    known, number, finished = {}, 0, False
    while not finished:
        for path in directory.iterdir():
            path.unlink()
        shutil.copyfile(small.store, store)
        disk = SimulatedDisk(directory, fail_at=number, error=error)
        with contextlib.suppress(Exception):
            prune(store, GOING, disk=disk, timeout=0.1)
            finished = len(disk.operations) <= number
        check_after_crash(store, number, known)
        number += 1


def test_capture_goes_on_after_pruning_was_cut_short(small, tmp_path):
    store, source = tmp_path / "store.h5", tmp_path / "source.h5"
    shutil.copyfile(small.store, store)
    disk = SimulatedDisk(tmp_path)
    prune(store, GOING, disk=disk)
    punches = [i for i, name in enumerate(disk.operations) if name == "punch"]
    shutil.copyfile(small.store, store)
    disk = SimulatedDisk(tmp_path, crash_at=punches[len(punches) // 2])
    with contextlib.suppress(PowerCutError):
        prune(store, GOING, disk=disk)
    shutil.copyfile(small.copies["v2"], source)
    assert capture(source, store).version == "v6"
    restore(store, "v6", tmp_path / "back.h5")
    assert sha256(tmp_path / "back.h5") == sha256(source)
    assert verify(store).ok
