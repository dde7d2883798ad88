"""Queues, places, the roster and names: what hosts tell each other through the broker."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import h5py
import pytest
import redis

from vh5d.policy.model import Policy
from vh5d.policy.path_maps import PathMaps
from vh5d.service.capturing.attempt import Attempt
from vh5d.service.capturing.tasks import Queue, make_app
from vh5d.service.catalog import places, queues
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.clock import LOOK_PAUSE, BrokerClock
from vh5d.service.catalog.records import PREFIX
from vh5d.service.catalog.recovery import LONGEST_WAY, UNSEEN
from vh5d.service.catalog.retries import LEASE
from vh5d.service.catalog.roster import KEPT, LOST_AFTER
from vh5d.service.catalog.source import FileStat, State

A, B, C = Path("/d/a.h5"), Path("/d/b.h5"), Path("/d/c.h5")
STAT = FileStat(size=10, mtime_ns=20, inode=30, device=40)


# Queues.


def test_messages_are_counted_by_queue_whatever_their_priority(broker, catalog, clock):
    queue = Queue(make_app(broker.url), catalog)
    for number, priority in enumerate(["high", "normal", "low"]):
        queue.put(Path(f"/d/{number}.h5"), "p", "change", queue="fast", priority=priority)
    queue.put(A, "p", "change")
    assert catalog.queue() == {"waiting": 4, "running": 0}
    clock.now += 7
    assert catalog.queues() == {
        "captures": {"waiting": 1, "oldest_waiting": 7.0},
        "fast": {"waiting": 3, "oldest_waiting": 7.0},
    }


def test_what_is_lost_is_found_though_another_queue_is_full(broker, catalog, redis_client, clock):
    """Nobody may be working on the other one."""
    Queue(make_app(broker.url), catalog).put(B, "p", "change", queue="slow")
    assert catalog.claims.take(A, "p", "change", queue="fast")
    clock.now += UNSEEN + 1
    assert catalog.recovery.of_messages() == 1
    assert catalog.retries.due() == [str(A)]
    assert catalog.claims.take(A, "p", "retry", queue="fast")


def test_what_is_lost_is_found_in_a_queue_that_never_empties(broker, catalog, clock):
    """Its turn would have come: what is next was asked for later."""
    queue = Queue(make_app(broker.url), catalog)
    assert catalog.claims.take(A, "p", "change")
    clock.now += 2 * UNSEEN
    queue.put(B, "p", "change", priority="low")
    queue.put(C, "p", "change")
    clock.now += LONGEST_WAY - 2 * UNSEEN - 1
    assert catalog.recovery.of_messages() == 0, "it may be on its way"
    clock.now += 1
    assert catalog.recovery.of_messages() == 1
    assert catalog.retries.due() == [str(A)]
    assert catalog.recovery.of_messages() == 0, "the others wait for their turn"


def test_a_file_whose_queue_became_another_is_begun_all_the_same(catalog, clock):
    catalog.claims.take(A, "p", "change", queue="old")
    catalog.captures.started(A, "p")
    catalog.captures.captured(A, STAT, state=State.CURRENT)
    clock.now += LEASE
    assert catalog.recovery.of_messages() == 0
    assert catalog.claims.take(A, "p", "change", queue="old")


def test_a_queue_that_is_restarted_asks_for_all_of_all_queues(broker, catalog):
    queue = Queue(make_app(broker.url), catalog)
    queue.put(A, "p", "change", queue="one", priority="low")
    queue.put(B, "p", "change")
    catalog.captures.started(C, "p")
    catalog.recovery.restart_queue()
    assert catalog.queue() == {"waiting": 0, "running": 0}
    assert catalog.retries.due() == [str(each) for each in (A, B, C)]


# Places.


def test_no_more_are_at_work_than_there_are_places(catalog):
    for path in (A, B):
        assert catalog.captures.take_place(path, "p", 2)
    assert not catalog.captures.take_place(C, "p", 2)
    assert catalog.captures.take_place(C, "other", 2), "of another policy"
    assert catalog.retries.due() == []
    catalog.captures.leave_place(A, "p", 2)
    assert catalog.retries.due() == [str(C)], "it is called"
    assert catalog.captures.take_place(C, "p", 2)
    assert places.stood(catalog.client, "p") == (2, 0)


def test_a_file_that_is_at_work_has_one_place(catalog):
    """Else the first of two captures that ends would give away the other's."""
    assert catalog.captures.take_place(A, "p", 2)
    assert not catalog.captures.take_place(A, "p", 2)
    catalog.captures.leave_place(A, "p", 2)
    assert catalog.retries.due() == [str(A)]
    assert catalog.captures.take_place(A, "p", 2)


def test_who_stands_in_line_may_be_asked_for_again(catalog):
    catalog.captures.take_place(A, "p", 1)
    assert catalog.claims.take(B, "p", "change")
    assert not catalog.captures.take_place(B, "p", 1)
    assert catalog.claims.take(B, "p", "change"), "its place in the queue is free"
    assert not catalog.captures.take_place(B, "p", 1)
    assert places.stood(catalog.client, "p") == (1, 1)


def test_who_was_called_in_vain_keeps_its_turn(catalog, clock):
    catalog.captures.take_place(A, "p", 1)
    for path in (B, C):
        clock.now += 1
        catalog.claims.take(path, "p", "change")
        assert not catalog.captures.take_place(path, "p", 1)
    catalog.captures.leave_place(A, "p", 1)
    assert sorted(catalog.retries.due()) == [str(B), str(C)], "both are called"
    clock.now += 1
    assert catalog.captures.take_place(A, "p", 1), "somebody was quicker"
    for path in (C, B):
        clock.now += 1
        catalog.claims.take(path, "p", "retry")
        assert not catalog.captures.take_place(path, "p", 1)
    line = catalog.client.zrange(f"{PREFIX}line:p", 0, -1)
    assert line == [str(B), str(C)]


def test_a_place_whose_host_died_is_free_again(catalog, clock):
    assert catalog.captures.take_place(A, "p", 1)
    clock.now += LEASE - 1
    catalog.captures.started(A, "p")
    catalog.captures.renew([A])
    clock.now += LEASE - 1
    assert not catalog.captures.take_place(B, "p", 1), "renewed"
    clock.now += 2
    assert catalog.captures.take_place(B, "p", 1)


def test_a_capture_that_died_leaves_its_place(catalog):
    catalog.captures.take_place(A, "p", 1)
    catalog.captures.started(A, "p")
    catalog.captures.take_place(B, "p", 1)
    catalog.captures.cut_short(A, "died")
    assert catalog.retries.due() == [str(B)]
    assert catalog.captures.take_place(B, "p", 1)


# The roster.


def test_who_is_there_says_so_until_it_leaves(catalog, clock):
    catalog.roster.tell("workers", "w1", {"host": "h", "held": {}})
    clock.now += LOST_AFTER - 1
    (worker,) = catalog.roster.members("workers")
    assert (worker["name"], worker["host"], worker["lost"]) == ("w1", "h", False)
    assert worker["silent"] == LOST_AFTER - 1
    assert catalog.recovery.of_workers() == []
    catalog.roster.leave("workers", "w1")
    assert catalog.roster.members("workers") == []


def test_what_a_lost_worker_had_is_tried_again_once_and_soon(catalog, redis_client, clock):
    """A was at work, B was waiting in it: neither message would come back for hours."""
    catalog.claims.take(A, "p", "change")
    catalog.claims.take(B, "p", "change")
    catalog.captures.started(A, "p")
    redis_client.hset(f"{PREFIX}unacked", mapping={"1": "a", "2": "b", "3": "another's"})
    held = {"1": str(A), "2": str(B)}
    catalog.roster.tell("workers", "w1", {"host": "h", "held": held})
    clock.now += LOST_AFTER + 1
    assert LOST_AFTER < LEASE
    assert catalog.recovery.of_workers() == ["w1"]
    assert catalog.recovery.of_workers() == [], "somebody else had seen it"
    assert catalog.queue()["running"] == 1
    assert catalog.source(A).error == "its worker was lost, on h"
    clock.now += 1
    assert sorted(catalog.retries.due()) == [str(A), str(B)]
    assert catalog.claims.take(B, "p", "retry")
    assert [member["lost"] for member in catalog.roster.members("workers")] == [True]
    clock.now += KEPT
    catalog.recovery.of_workers()
    assert catalog.roster.members("workers") == []


def test_what_a_lost_worker_took_in_its_last_moment_is_tried_again(broker, catalog, redis_client):
    """It had told nobody of it; B is held by another, C was taken just now."""
    queue = Queue(make_app(broker.url), catalog)
    for path in (A, B, C):
        queue.put(path, "p", "change", priority="high")
    taken = [redis_client.rpop(queues.messages("captures")[0]) for _ in range(3)]
    for tag, message, ago in zip("123", taken, (30, 30, 0), strict=True):
        redis_client.hset(queues.UNACKED, tag, json.dumps([json.loads(message), "", "captures"]))
        redis_client.zadd(f"{queues.UNACKED}_index", {tag: catalog.now() - ago})
    catalog.roster.tell("workers", "dead", {"host": "h", "held": {}})
    catalog._clock.now += LOST_AFTER + 1
    redis_client.zincrby(f"{queues.UNACKED}_index", LOST_AFTER + 1, "3")
    catalog.roster.tell("workers", "alive", {"host": "h", "held": {"2": str(B)}})
    assert catalog.recovery.of_workers() == ["dead"]
    assert catalog.retries.due() == [str(A)]
    assert set(redis_client.hkeys(queues.UNACKED)) == {"2", "3"}
    assert catalog.claims.take(A, "p", "retry")


def test_a_worker_that_was_cut_off_and_is_lost_again_is_seen_to_again(catalog, clock):
    for _ in range(2):
        catalog.roster.tell("workers", "w1", {"host": "h", "held": {}})
        clock.now += LOST_AFTER + 1
        assert catalog.recovery.of_workers() == ["w1"]


# One clock, several names.


def test_the_brokers_clock_is_everybodys(broker):
    class Host:
        now = 5.0

        def __call__(self):
            return self.now

    host = Host()
    clock = BrokerClock(connect(broker.url), host)
    assert clock() == pytest.approx(time.time(), abs=60)
    before = clock()
    host.now += LOOK_PAUSE / 2
    assert clock() == pytest.approx(before + LOOK_PAUSE / 2), "not asked every time"
    host.now += LOOK_PAUSE
    assert clock() == pytest.approx(time.time(), abs=60)


def test_a_clock_goes_on_without_the_broker(tmp_path, broker):
    link = tmp_path / "late.sock"
    clock = BrokerClock(connect(f"unix://{link}"))
    with pytest.raises(redis.ConnectionError):
        clock()
    link.symlink_to(broker.socket)
    before = clock()
    link.unlink()
    assert clock() >= before


def test_hosts_that_call_a_directory_otherwise_mean_the_same_file(redis_client, clock):
    here = Catalog(redis_client, clock, PathMaps([("/ifs/data", "/mnt/instrument")]))
    there = Catalog(redis_client, clock)
    local, name = Path("/ifs/data/a.h5"), Path("/mnt/instrument/a.h5")
    here.sightings.settling([(local, "p")])
    assert here.claims.take(local, "p", "change")
    assert not there.claims.take(name, "p", "change")
    there.captures.started(name, "p")
    there.captures.captured(name, STAT, state=State.CURRENT, store="/mnt/instrument/.vh5d/a.h5")
    assert (there.paths(), here.paths()) == ([str(name)], [str(local)])
    assert here.source(local).store == "/ifs/data/.vh5d/a.h5"
    assert [each.path for each in here.sources()] == [str(local)]
    here.sightings.moved(local, Path("/ifs/data/b.h5"), "p")
    assert there.source("/mnt/instrument/b.h5").moved_from == str(name)
    there.captures.postponed(name, 0, "busy", state=State.FAILED, attempts=1, busy=0)
    assert here.retries.due() == [str(local)]
    there.retries.at_request(name, "p")
    assert {event["path"] for _, event in here.events()} == {"/mnt/instrument/a.h5"}


def test_messages_carry_the_name_that_all_hosts_know(redis_client, broker, clock):
    catalog = Catalog(redis_client, clock, PathMaps([(r"D:\data", "/mnt/instrument")]))
    Queue(make_app(broker.url), catalog).put(Path(r"D:\data\a.h5"), "p", "change")
    (message,) = redis_client.lrange(queues.messages("captures")[1], 0, -1)
    arguments, *_ = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert arguments == ["/mnt/instrument/a.h5", "p"]
    assert "D:" not in message


def test_a_map_opens_nothing(catalog, tmp_path):
    data, secret = tmp_path / "data", tmp_path / "secret.h5"
    data.mkdir()
    with h5py.File(secret, "w") as file:
        file["x"] = 1
    (data / "link.h5").symlink_to(secret)
    maps = PathMaps([(str(data), "/mnt/instrument")])
    attempt = Attempt({"p": Policy(name="p", watch=(str(data),))}, catalog, lambda: 0.5)
    for name in ("/mnt/instrument/../secret.h5", "/mnt/instrument/link.h5", str(secret), "/mnt"):
        assert attempt(Path(maps.local(name)), "p") is None
    assert list(catalog.sources()) == []
    assert not (data / ".vh5d").exists()
