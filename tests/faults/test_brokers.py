"""The broker dies, is away, forgets, is full; messages arrive twice."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
import redis

from tests.e2e.test_up import kept, store_of, versions, write_h5py
from tests.support.waiting import wait_for
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.service.capturing.tasks import TASK, make_app
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.records import PREFIX
from vh5d.service.catalog.source import State


def client_of(up):
    return connect(f"unix://{up.state}/broker/broker.sock")


def at_work(data, up, paths):
    """Have captures of all these files at work: each waits for a store that we hold."""
    for path in paths:
        write_h5py(path)
    for path in paths:
        wait_for(lambda path=path: kept(path, data), "the first version")
    held = [AtomicFile.open(store_of(path, data)) for path in paths]
    for path in paths:
        write_h5py(path)
    catalog = Catalog(client_of(up))
    wait_for(
        lambda: all(catalog.source(path).state is State.CAPTURING for path in paths), "captures"
    )
    return held


def test_a_worker_with_all_hands_full_goes_on_when_the_broker_was_killed(data, up):
    """It waited for no message then, so it did not notice; what it had done was never counted
    as done, and it fetched nothing any more."""
    up.start()
    paths = [data / f"{number}.h5" for number in range(len(os.sched_getaffinity(0)) + 2)]
    size = len(os.sched_getaffinity(0))
    wait_for(lambda: len(up.child("worker").children()) == size, "the pool")
    pool = up.child("worker").children()
    held = at_work(data, up, paths[: len(pool)])
    up.process.send_signal(signal.SIGSTOP)  # it would start another broker too soon
    try:
        up.child("broker").kill()
        for child in pool:
            child.kill()
        wait_for(lambda: not set(pool) & living(up.child("worker").children()), "their end")
        wait_for(lambda: len(living(up.child("worker").children())) == len(pool), "others")
    finally:
        up.process.send_signal(signal.SIGCONT)
    wait_for(lambda: [e for e in up.records if e["event"].startswith("Couldn't ack")], "a failure")
    wait_for(lambda: up.said("started again"), "the broker")
    for each in held:
        each.close()
    for path in paths:
        write_h5py(path)
    for path in paths:
        wait_for(lambda path=path: kept(path, data), f"{path.name}", timeout=60)
    catalog = Catalog(client_of(up))
    wait_for(lambda: catalog.queue() == {"waiting": 0, "running": 0}, "every acknowledgement")


def living(processes):
    return {each for each in processes if each.status() != psutil.STATUS_ZOMBIE}


def test_a_capture_that_ended_while_the_broker_was_away_is_told_of(data, up):
    """Else it would count as at work until its lease ends."""
    up.start()
    path = data / "a.h5"
    held = at_work(data, up, [path])
    up.child("broker").send_signal(signal.SIGSTOP)
    for child in up.child("worker").children():
        child.kill()
    wait_for(lambda: up.said("a capture ended its process"), "the news")
    up.child("broker").send_signal(signal.SIGCONT)
    for each in held:
        each.close()
    wait_for(lambda: kept(path, data), "the version", timeout=60)


def test_a_broker_that_is_away_is_said_and_its_return_brings_everything(data, up):
    up.start()
    write_h5py(data / "before.h5")
    wait_for(lambda: kept(data / "before.h5", data), "a version before")
    broker = up.child("broker")
    broker.send_signal(signal.SIGSTOP)  # it holds the connections and answers nothing
    write_h5py(data / "during.h5")
    wait_for(
        lambda: up.said("the broker does not answer, going on without it"), "the news", timeout=60
    )
    status = up.status()
    assert status["running"] is True
    assert "does not answer" in status["broker"]
    states = {source["path"].split("/")[-1]: source["state"] for source in status["sources"]}
    assert states == {"before.h5": "current", "during.h5": "unversioned"}
    broker.send_signal(signal.SIGCONT)
    wait_for(lambda: kept(data / "during.h5", data), "the version", timeout=60)
    assert up.said("the broker answers again, looking at everything")
    assert len(up.said("the broker does not answer, going on without it")) <= 2


@pytest.mark.slow
def test_a_broker_that_forgot_everything_is_filled_again(data, up):
    up.start()
    for name in "aab":
        write_h5py(data / f"{name}.h5")
        wait_for(lambda name=name: kept(data / f"{name}.h5", data), "a version")
    client = client_of(up)
    wait_for(lambda: client.exists(PREFIX + "known"), "the mark")
    before = {each["path"]: (each["version"], each["state"]) for each in up.status()["sources"]}
    assert sorted(before.values()) == [("v1", "current"), ("v2", "current")]
    client.flushall()
    wait_for(lambda: up.said("the broker lost everything, looking at everything"), "the news")

    def told():
        return {each["path"]: (each["version"], each["state"]) for each in up.status()["sources"]}

    wait_for(lambda: told() == before, "the catalog, from the stores")
    assert [len(versions(data / f"{name}.h5", data)) for name in "ab"] == [2, 1]


def test_a_broker_out_of_memory_is_waited_for(data, up):
    up.start()
    write_h5py(data / "before.h5")
    wait_for(lambda: kept(data / "before.h5", data), "a version before")
    client = client_of(up)
    client.config_set("maxmemory", "1")
    write_h5py(data / "during.h5")
    wait_for(lambda: up.said("the broker does not answer, going on without it"), "the news")
    watcher = up.child("watch").pid
    client.config_set("maxmemory", "0")
    wait_for(lambda: kept(data / "during.h5", data), "the version", timeout=60)
    assert up.child("watch").pid == watcher, "nothing crashed"
    assert len(up.said("died, starting it again")) <= 1, "a worker may, once"


def test_a_message_that_is_delivered_twice_makes_one_version(data, up):
    """As after the visibility timeout: two captures of one file at work at the same time."""
    up.start()
    path = data / "a.h5"
    held = at_work(data, up, [path])
    client = client_of(up)
    make_app(f"unix://{up.state}/broker/broker.sock").send_task(TASK, args=[str(path), "test"])
    wait_for(lambda: client.hlen(PREFIX + "unacked") == 2, "the second at work")
    for each in held:
        each.close()
    wait_for(lambda: kept(path, data), "the version", timeout=60)
    wait_for(lambda: Catalog(client).queue() == {"waiting": 0, "running": 0}, "both to end")
    assert [version.name for version in versions(path, data)] == ["v1", "v2"]


def test_a_message_for_somewhere_else_is_refused(data, up, tmp_path):
    up.start()
    secret = tmp_path / "secret.h5"
    write_h5py(secret)
    app = make_app(f"unix://{up.state}/broker/broker.sock")
    for path in (secret, data / ".." / "secret.h5", "/etc/passwd"):
        app.send_task(TASK, args=[str(path), "test"])
    wait_for(lambda: len(up.said("refused: outside the policy")) == 3, "the refusals")
    assert sorted(path.name for path in data.rglob("*.h5")) == []
    with client_of(up) as client:
        assert isinstance(client, redis.Redis)
        assert list(Catalog(client).sources()) == []
