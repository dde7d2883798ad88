"""Workers that come, go, die and take from some queues only, with a broker of their own."""

from __future__ import annotations

import json
import signal
import time
from itertools import pairwise

import psutil
import pytest

from tests.e2e.test_up import kept, store_of, versions, write_h5py
from tests.support.roles import Role, answers, free_ports, server
from tests.support.waiting import wait_for
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import State

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def url(tmp_path):
    (port,) = free_ports(1)
    with server(tmp_path, port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def catalog(url):
    with connect(url) as client:
        yield Catalog(client)


@pytest.fixture
def start(tmp_path, data, url):
    running = []

    def role(name, *arguments, **policies):
        config = tmp_path / f"{len(running)}.yaml"
        policies = policies or {"p": {"watch": str(data)}}
        listed = [{"name": key, "settle": "200ms", **policy} for key, policy in policies.items()]
        config.write_text(json.dumps({"broker": url, "policies": listed}))
        running.append(Role(name, config, arguments=arguments))
        return running[-1]

    assert answers(url)
    yield role
    for each in running:
        each.end()
        print(each.process.args, *each.records, sep="\n")


def workers(catalog):
    return {member["pid"]: member for member in catalog.roster.members("workers")}


def test_a_worker_is_drained_while_another_goes_on(start, data, catalog):
    start("watch")
    first = start("worker", "--concurrency", "1")
    wait_for(lambda: first.process.pid in workers(catalog), "the first", timeout=60)
    write_h5py(data / "a.h5")
    wait_for(lambda: kept(data / "a.h5", data), "the first version", timeout=60)
    held = AtomicFile.open(store_of(data / "a.h5", data))
    write_h5py(data / "a.h5")
    wait_for(lambda: workers(catalog)[first.process.pid]["at_work"], "work", timeout=60)
    first.process.send_signal(signal.SIGTERM)
    wait_for(lambda: workers(catalog)[first.process.pid]["draining"], "the word", timeout=60)
    second = start("worker", "--concurrency", "1")
    write_h5py(data / "b.h5")
    wait_for(lambda: kept(data / "b.h5", data), "the second's", timeout=60)
    held.close()
    assert first.process.wait(60) == 0
    wait_for(lambda: kept(data / "a.h5", data), "what the first had, or the second took over", 60)
    assert set(workers(catalog)) == {second.process.pid}, "it left"
    assert len(versions(data / "a.h5", data)) == 2
    (watcher,) = catalog.roster.members("watchers")
    assert watcher["roots"] == [str(data)]


@pytest.mark.slow
def test_what_a_worker_had_that_died_is_captured_soon(start, data, catalog):
    """All of its processes, as when its host loses power: nobody tells of it."""
    watcher = start("watch")
    victim = start("worker", "--concurrency", "1")
    write_h5py(data / "a.h5")
    wait_for(lambda: kept(data / "a.h5", data), "the first version", timeout=60)
    held = AtomicFile.open(store_of(data / "a.h5", data))
    write_h5py(data / "a.h5")
    wait_for(lambda: catalog.source(data / "a.h5").state is State.CAPTURING, "work", timeout=60)
    seen = catalog.now()
    wait_for(lambda: workers(catalog)[victim.process.pid]["at"] > seen + 1, "its word", timeout=60)
    processes = psutil.Process(victim.process.pid)
    for process in [processes, *processes.children(recursive=True)]:
        process.kill()
    died = time.monotonic()
    held.close()
    start("worker", "--concurrency", "1")
    wait_for(lambda: kept(data / "a.h5", data), "the version", timeout=100)
    assert time.monotonic() - died < 90, "not after the hours that a message may be away"
    assert watcher.said("workers were lost, asking again for what they had")
    wait_for(lambda: catalog.queue() == {"waiting": 0, "running": 0}, "a clean queue")
    assert len(versions(data / "a.h5", data)) == 2


def test_a_worker_takes_from_its_queues_only(start, data, catalog):
    fast, slow = data / "fast", data / "slow"
    policies = {}
    for path, priority in ((fast, "high"), (slow, "low")):
        path.mkdir()
        policies[path.name] = {"watch": str(path), "queue": path.name, "priority": priority}
    start("watch", **policies)
    start("worker", "--queue", "fast", "--concurrency", "1", **policies)
    write_h5py(slow / "a.h5")
    wait_for(lambda: catalog.queues().get("slow", {}).get("waiting"), "a message", timeout=60)
    write_h5py(fast / "a.h5")
    wait_for(lambda: kept(fast / "a.h5", fast), "the fast one", timeout=60)
    assert catalog.source(slow / "a.h5").state is State.QUEUED
    start("worker", "--concurrency", "1", **policies)
    wait_for(lambda: kept(slow / "a.h5", slow), "the slow one", timeout=60)


def test_a_queue_that_no_policy_has_is_refused(start):
    role = start("worker", "--queue", "captuers")
    assert role.process.wait(60) == 2


@pytest.mark.slow
def test_no_more_captures_of_a_policy_than_it_allows(start, data, catalog):
    policies = {"p": {"watch": str(data), "limits": {"concurrency": 1}}}
    start("watch", **policies)
    roles = [start("worker", "--concurrency", "2", **policies) for _ in range(2)]
    names = [data / f"{number}.h5" for number in range(6)]
    for path in names:
        write_h5py(path)
    for path in names:
        wait_for(lambda path=path: kept(path, data), path.name, timeout=100)
    wait_for(lambda: len([s for r in roles for s in captures(r)]) >= len(names), "their word")
    spans = sorted(span for role in roles for span in captures(role))
    for (_, ended), (begun, _) in pairwise(spans):
        assert ended <= begun
    assert all(len(versions(path, data)) == 1 for path in names)


def captures(role):
    """When each of its captures began and ended."""
    begun, spans = {}, []
    for each in role.records:
        if each["event"] == "begun":
            begun[each["path"]] = each["timestamp"]
        elif each["event"] in {"version", "unchanged"}:
            spans.append((begun.pop(each["path"]), each["timestamp"]))
    return spans


@pytest.mark.slow
def test_two_watchers_of_one_directory_make_one_version(start, data, catalog):
    for _ in range(2):
        start("watch")
    start("worker", "--concurrency", "2")
    wait_for(lambda: len(catalog.roster.members("watchers")) == 2, "both", timeout=60)
    for number in range(4):
        write_h5py(data / f"{number}.h5")
    for number in range(4):
        wait_for(lambda path=data / f"{number}.h5": kept(path, data), "a version", timeout=60)
    wait_for(lambda: catalog.queue() == {"waiting": 0, "running": 0}, "rest", timeout=60)
    assert all(len(versions(data / f"{number}.h5", data)) == 1 for number in range(4))


def test_a_watcher_and_a_worker_with_other_mount_points(start, data, url, tmp_path, catalog):
    """The watcher's directory is a link here: a name that the worker does not know."""
    elsewhere = tmp_path / "ifs"
    elsewhere.mkdir()
    (elsewhere / "data").symlink_to(data)
    config = tmp_path / "watch.yaml"
    policy = {"name": "p", "watch": str(elsewhere / "data"), "settle": "200ms"}
    maps = [{"from": str(elsewhere / "data"), "to": str(data)}]
    config.write_text(json.dumps({"broker": url, "path_maps": maps, "policies": [policy]}))
    watcher = Role("watch", config)
    try:
        worker = start("worker", "--concurrency", "1")
        write_h5py(data / "a.h5")
        wait_for(lambda: kept(data / "a.h5", data), "the version", timeout=60)
        assert catalog.paths() == [str(data / "a.h5")]
        assert not worker.said("refused: outside the policy")
    finally:
        watcher.end()
