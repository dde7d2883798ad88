"""Files that are moved away, deleted or emptied: their history stays, and is found again."""

from __future__ import annotations

import os

import h5py
import pytest

from vh5d.policy import Policy
from vh5d.service.capturing.attempt import Attempt
from vh5d.service.catalog.source import FileStat, State
from vh5d.store.reader import open_store


@pytest.fixture
def policies(tmp_path):
    made = {}
    for name in ("detector", "archive"):
        (tmp_path / name).mkdir()
        made[name] = Policy(name=name, watch=(str(tmp_path / name),), settle=0.5)
    return made


@pytest.fixture
def attempt(policies, catalog):
    return Attempt(policies, catalog, random=lambda: 0.0)


def write(path, value=1):
    with h5py.File(path, "w") as file:
        file["x"] = value


def names(store):
    with open_store(store) as reader:
        return [version.name for version in reader.versions]


@pytest.fixture
def moved(tmp_path, attempt):
    """Move a captured file, as a data mover does."""
    old, new = tmp_path / "detector/a.h5", tmp_path / "archive/2026/a.h5"
    write(old)
    assert attempt(old, "detector") is State.CURRENT
    new.parent.mkdir()
    old.rename(new)
    return old, new


def test_a_file_moved_to_another_directory_takes_its_history_along(
    attempt, policies, catalog, moved, clock
):
    old, new = moved
    assert attempt(old, "detector") is State.MISSING
    stone = catalog.source(old)
    assert (stone.gone, stone.gone_at, stone.moved_to) == ("deleted", clock.now, None)
    assert attempt(new, "archive") is State.CURRENT
    assert names(policies["archive"].store_for(new)) == ["v1"]
    assert not policies["detector"].store_for(old).exists()
    stone = catalog.source(old)
    assert (stone.state, stone.gone, stone.moved_to) == (State.MISSING, "moved", str(new))


def test_it_does_so_though_its_absence_is_not_noticed_yet(attempt, policies, catalog, moved):
    old, new = moved
    assert attempt(new, "archive") is State.CURRENT
    assert names(policies["archive"].store_for(new)) == ["v1"]
    assert catalog.source(old).moved_to == str(new)
    assert attempt(old, "detector") is State.MISSING
    assert catalog.source(old).gone == "moved"


def test_a_second_name_of_a_file_has_its_own_history(attempt, policies, tmp_path):
    old, new = tmp_path / "detector/a.h5", tmp_path / "archive/a.h5"
    write(old)
    attempt(old, "detector")
    new.hardlink_to(old)
    attempt(new, "archive")
    assert policies["detector"].store_for(old).exists()
    assert names(policies["archive"].store_for(new)) == ["v1"]


def test_a_move_that_is_seen_is_told_at_once(attempt, policies, catalog, moved):
    old, new = moved
    catalog.sightings.moved(old, new, "archive")
    assert catalog.source(old).moved_to == str(new)
    attempt(new, "archive")
    assert names(policies["archive"].store_for(new)) == ["v1"]


def test_another_file_with_its_inode_is_another_file(attempt, policies, catalog, moved):
    old, new = moved
    attempt(old, "detector")
    stat = new.stat()
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert catalog.sightings.name_of(FileStat.of(new.stat())) is None
    attempt(new, "archive")
    assert policies["detector"].store_for(old).exists()
    assert catalog.source(old).gone == "deleted"


def test_a_new_file_of_the_name_goes_on_in_the_same_store(attempt, policies, catalog, tmp_path):
    path = tmp_path / "detector/a.h5"
    write(path)
    attempt(path, "detector")
    path.unlink()
    assert attempt(path, "detector") is State.MISSING
    write(path, 2)
    assert attempt(path, "detector") is State.CURRENT
    assert names(policies["detector"].store_for(path)) == ["v1", "v2"]
    assert catalog.source(path).gone is None


def test_an_emptied_file_has_a_tombstone(attempt, policies, catalog, tmp_path, clock):
    path = tmp_path / "detector/a.h5"
    write(path)
    attempt(path, "detector")
    os.truncate(path, 0)
    clock.now += 5
    assert attempt(path, "detector") is State.EMPTIED
    known = catalog.source(path)
    assert (known.gone, known.gone_at) == ("emptied", clock.now)
    assert names(policies["detector"].store_for(path)) == ["v1"]
    write(path, 3)
    attempt(path, "detector")
    assert catalog.source(path).gone is None
    assert names(policies["detector"].store_for(path)) == ["v1", "v2"]


def test_a_file_that_was_always_empty_is_no_tombstone(attempt, catalog, tmp_path):
    path = tmp_path / "detector/a.h5"
    path.touch()
    assert attempt(path, "detector") is State.UNREADABLE
    assert catalog.source(path).gone is None
