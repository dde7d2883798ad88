"""Growing files: when they are looked at, and what the service makes of them."""

from __future__ import annotations

import threading
from datetime import timedelta

import h5py
import pytest

from tests.support.other_process import other_process
from tests.support.swmr_writer import SwmrWriter, frames, torn
from tests.support.waiting import wait_for
from vh5d.capture.options import utc_now
from vh5d.policy import Config, Policy
from vh5d.service.capturing.attempt import Attempt
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import SWMR, State
from vh5d.service.running.signals import StopRequests
from vh5d.service.watching.growing import Growing
from vh5d.service.watching.watcher import Watcher
from vh5d.store.layout import VERSIONS
from vh5d.store.reader import open_store

# When to look


def test_a_file_is_looked_at_when_its_interval_is_over():
    growing: Growing[str] = Growing()
    growing.changed("a", 100.0, 60.0)
    growing.changed("a", 130.0, 60.0)
    growing.changed("b", 140.0, 60.0)
    assert growing.next_due() == 160.0
    assert growing.take(159.0, 10) == []
    assert growing.take(160.0, 10) == ["a"]
    assert growing.take(1000.0, 10) == ["b"]
    assert growing.next_due() is None
    growing.changed("a", 170.0, 60.0)
    assert growing.next_due() == 230.0


def test_what_is_forgotten_is_not_looked_at():
    growing: Growing[str] = Growing()
    growing.changed("a", 0.0, 1.0)
    growing.forget("a")
    assert "a" not in growing
    assert growing.next_due() is None
    growing.changed("a", 5.0, 1.0)
    assert growing.take(1.0, 10) == []
    assert growing.take(6.0, 10) == ["a"]


def test_no_more_are_taken_than_asked_for():
    growing: Growing[int] = Growing()
    for each in range(10):
        growing.changed(each, float(each), 1.0)
    assert growing.take(100.0, 3) == [0, 1, 2]
    assert len(growing.take(100.0, 100)) == 7


# What a worker does


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def policy(root):
    return Policy(name="p", watch=(str(root),), settle=0.2, while_open="swmr", swmr_interval=1.0)


@pytest.fixture
def attempt(policy, catalog):
    return Attempt({policy.name: policy}, catalog, random=lambda: 0.0)


def versions(policy, path):
    with open_store(policy.store_for(path)) as reader:
        return [(version.name, version.cause, version.kept_as) for version in reader.versions]


def test_a_growing_file_is_captured_and_its_end_is_exact(attempt, policy, catalog, root):
    path = root / "scan.h5"
    with SwmrWriter(path) as writer:
        writer.add(3)
        catalog.claims.take(path, "p", SWMR)
        assert attempt(path, "p") is State.GROWING
        assert catalog.source(path).error is None
        writer.close()
    catalog.claims.take(path, "p", SWMR)  # asked for before it was closed
    assert attempt(path, "p") is State.CURRENT
    assert versions(policy, path) == [("v1", "swmr", "content"), ("v2", "swmr", "tree")]


def test_a_state_that_was_seen_growing_is_not_taken_for_the_whole(attempt, policy, catalog, root):
    path = root / "scan.h5"
    with SwmrWriter(path) as writer:
        writer.add(3)
        catalog.claims.take(path, "p", SWMR)
        attempt(path, "p")
        before = path.stat()
        writer.kill()
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    catalog.claims.take(path, "p", "rescan")
    assert attempt(path, "p") is State.UNCLEAN
    assert [kept_as for _, _, kept_as in versions(policy, path)] == ["content", "bytes"]


# What the watcher does


class Asked:
    """What was asked for."""

    def __init__(self):
        self.captures = []

    def put(self, path, policy, cause, **_route):
        self.captures.append((path.name, cause))
        return True


@pytest.fixture
def run(policy, redis_client):
    running = []

    def start(**settings):
        changed = policy.model_copy(update=settings)
        asked = Asked()
        watcher = Watcher(Config(policies=(changed,)), Catalog(redis_client), asked)
        stop = StopRequests()
        thread = threading.Thread(target=watcher.run, args=(stop,))
        thread.start()
        running.append((thread, stop))
        return asked

    yield start
    for thread, stop in running:
        stop.count = 1
        thread.join(10)


def test_a_growing_file_is_asked_for_again_and_again_and_at_its_end(root, run):
    asked = run()
    with SwmrWriter(root / "scan.h5", pause=0.02) as writer:
        writer.tell("run")
        wait_for(lambda: asked.captures.count(("scan.h5", "swmr")) >= 2, "two looks")
        assert set(asked.captures) == {("scan.h5", "swmr")}
        writer.close()
        wait_for(lambda: ("scan.h5", "change") in asked.captures, "its end")


def test_what_is_at_rest_before_the_interval_is_over_is_not_looked_at(root, run):
    asked = run(swmr_interval=2.0)
    with h5py.File(root / "a.h5", "w", libver="latest") as file:
        file["x"] = 1
    wait_for(lambda: [name for name, _ in asked.captures] == ["a.h5"], "the file")
    assert asked.captures[0][1] != "swmr"


def test_a_file_that_is_open_otherwise_waits(root, run):
    asked = run(swmr_interval=0.3)
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'w'); f['x'] = 1; f.flush()"
    with other_process(code, root / "a.h5"):
        with h5py.File(root / "b.h5", "w") as file:
            file["x"] = 1
        wait_for(lambda: ("b.h5", "change") in asked.captures, "the other file")
    wait_for(lambda: ("a.h5", "change") in asked.captures, "its close")
    assert not [cause for _, cause in asked.captures if cause == "swmr"]


def test_a_file_whose_writer_died_is_kept_by_its_bytes_in_the_end(root, run):
    asked = run(max_wait=2.0)
    with SwmrWriter(root / "scan.h5") as writer:
        writer.add(2)
        writer.kill()
    wait_for(lambda: ("scan.h5", "swmr") in asked.captures, "a look at it")
    wait_for(lambda: len(asked.captures) == 2, "the end of its time")
    assert asked.captures[1][1] != "swmr"


# Not too many versions


def test_a_change_within_the_least_interval_is_captured_at_its_end(policy, catalog, root, clock):
    now = [utc_now()]
    slow = policy.model_copy(update={"min_interval": 60.0})
    attempt = Attempt({"p": slow}, catalog, random=lambda: 0.0, clock=lambda: now[0])
    path = root / "a.h5"
    for number in range(3):
        with h5py.File(path, "w") as file:
            file["x"] = number
        expected = State.CURRENT if number == 0 else State.SETTLING
        assert attempt(path, "p") is expected
        now[0] += timedelta(seconds=20)
    known = catalog.source(path)
    assert known.next_try == pytest.approx(clock.now + 20)
    assert "younger than 1m" in known.error
    clock.now += 21
    now[0] += timedelta(seconds=1)
    assert catalog.retries.due() == [str(path)]
    assert attempt(path, "p") is State.CURRENT
    with h5py.File(policy.store_for(path), "r") as file:
        assert file[VERSIONS]["v2/x"][()] == 2
    assert len(versions(policy, path)) == 2


def test_a_clock_that_was_set_back_makes_nobody_wait(policy, catalog, root):
    now = [utc_now()]
    slow = policy.model_copy(update={"min_interval": 60.0})
    attempt = Attempt({"p": slow}, catalog, random=lambda: 0.0, clock=lambda: now[0])
    path = root / "a.h5"
    for number in range(2):
        with h5py.File(path, "w") as file:
            file["x"] = number
        assert attempt(path, "p") is State.CURRENT
        now[0] -= timedelta(days=1)


def test_growing_versions_are_whole(attempt, policy, catalog, root):
    path = root / "scan.h5"
    with SwmrWriter(path, pause=0.001) as writer:
        writer.tell("run")
        for _ in range(3):
            catalog.claims.take(path, "p", SWMR)
            assert attempt(path, "p") is State.GROWING
        writer.close()
    with h5py.File(policy.store_for(path), "r") as file:
        seen = [file[VERSIONS][name] for name in ("v1", "v2", "v3")]
        assert [torn(each) for each in seen] == [[], [], []]
        assert sorted(map(frames, seen)) == list(map(frames, seen))


# Too large


def test_a_file_that_is_too_large_is_said_and_captured_when_it_is_not(policy, catalog, root):
    path = root / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = list(range(10_000))
    limits = policy.limits.model_copy(update={"file_size": 20_000})
    small = policy.model_copy(update={"limits": limits})
    attempt = Attempt({"p": small}, catalog, random=lambda: 0.0)
    assert attempt(path, "p") is State.TOO_LARGE
    assert "limits.file_size" in catalog.source(path).error
    assert catalog.retries.due() == []
    assert not policy.store_for(path).exists()
    with h5py.File(path, "w") as file:
        file["x"] = 1
    assert attempt(path, "p") is State.CURRENT


# Many


def test_each_file_of_a_long_series_is_asked_for(root, run):
    asked = run(while_open="wait")
    with h5py.File(root / "scan.tmp", "w") as file:
        file["x"] = 1
    content = (root / "scan.tmp").read_bytes()
    names = [f"scan_{number:04}.h5" for number in range(1500)]
    for name in names:
        (root / name).write_bytes(content)
    wait_for(lambda: {name for name, _ in asked.captures} >= {*names}, "all of them", timeout=120)
    # One that a look found before its close was heard of is asked for again: no version of it more.
    assert len(asked.captures) < 2 * len(names)
