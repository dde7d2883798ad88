from __future__ import annotations

from pathlib import Path

import pytest

from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.queues import QUEUE
from vh5d.service.catalog.records import PREFIX
from vh5d.service.catalog.recovery import LONGEST_WAY, UNSEEN
from vh5d.service.catalog.retries import LEASE
from vh5d.service.catalog.source import FileStat, State

A, B, C = Path("/d/a.h5"), Path("/d/b.h5"), Path("/d/c.h5")
STAT = FileStat(size=10, mtime_ns=20, inode=30, device=40)


def test_a_file_nobody_heard_of_is_none(catalog):
    assert catalog.source(A) is None
    assert list(catalog.sources()) == []
    assert catalog.queue() == {"waiting": 0, "running": 0}


def test_a_source_goes_from_settling_to_current(catalog):
    catalog.sightings.settling([(A, "p")])
    assert catalog.source(A).state is State.SETTLING
    assert catalog.claims.take(A, "p", "change")
    assert catalog.source(A).state is State.QUEUED
    before = catalog.captures.started(A, "p")
    assert (before.cause, before.attempts) == ("change", 0)
    assert catalog.source(A).state is State.CAPTURING
    catalog.captures.captured(
        A, STAT, state=State.CURRENT, version="v1", bytes_added=5, seconds=0.5
    )
    source = catalog.source(A)
    assert (source.state, source.version, source.stat, source.attempts) == (
        "current",
        "v1",
        STAT,
        0,
    )
    assert catalog.retries.due() == []


def test_a_file_has_one_place_in_the_queue_until_its_capture_starts(catalog):
    assert catalog.claims.take(A, "p", "change")
    assert not catalog.claims.take(A, "p", "change")
    catalog.captures.started(A, "p")
    assert catalog.claims.take(A, "p", "change"), "a change during the capture leads to another one"


def test_an_attempt_that_never_ends_is_tried_again(catalog, clock):
    catalog.captures.started(A, "p")
    clock.now += LEASE - 1
    assert catalog.retries.due() == []
    clock.now += 2
    assert catalog.retries.due() == [str(A)]


def test_an_attempt_whose_worker_lives_is_left_alone(catalog, clock):
    catalog.captures.started(A, "p")
    clock.now += LEASE - 1
    catalog.captures.renew([A, B])
    clock.now += LEASE - 1
    assert catalog.retries.due() == []
    catalog.captures.captured(A, STAT, state=State.CURRENT)
    catalog.captures.renew([A])
    clock.now += 2 * LEASE
    assert catalog.retries.due() == [], "it had ended"


def test_an_attempt_that_the_broker_ended_is_not_held_against_the_file(catalog):
    for _ in range(3):
        catalog.captures.started(A, "p")
        catalog.captures.cut_short(A, "the broker was away", blame=False)
    assert catalog.source(A).attempts == 0


def test_what_a_dead_worker_took_does_not_hide_for_ever_what_is_lost(catalog, clock, redis_client):
    redis_client.hset("vh5d:unacked", "tag", "a message")
    redis_client.zadd("vh5d:unacked_index", {"tag": clock.now})
    catalog.claims.take(A, "p", "change")
    clock.now += UNSEEN + 1
    assert catalog.recovery.of_messages() == 0, "it may be on its way"
    clock.now += LONGEST_WAY
    assert catalog.recovery.of_messages() == 1
    assert catalog.retries.due() == [str(A)]
    catalog.recovery.acknowledge("tag")
    assert catalog.queue() == {"waiting": 0, "running": 0}
    assert redis_client.zcard("vh5d:unacked_index") == 0


def test_attempts_are_counted_when_they_begin(catalog):
    for attempt in range(3):
        assert catalog.captures.started(A, "p").attempts == attempt


def test_attempts_that_do_not_count_leave_nothing_however_they_overlap(catalog):
    """Two at work at the same time, of a file that is written all the while: it crept up, and
    the file was kept by its bytes as if it had ended processes."""

    def postpone():
        catalog.captures.postponed(A, 1.0, "busy", state=State.SETTLING, attempts=None, busy=1)

    for _ in range(3):
        catalog.captures.started(A, "p")
        catalog.captures.started(A, "p")
        postpone()
        postpone()
        assert catalog.source(A).attempts == 0
    catalog.captures.started(A, "p")
    catalog.captures.started(A, "p")
    catalog.captures.captured(A, STAT, state=State.CURRENT)
    postpone()
    assert catalog.source(A).attempts == 0


def test_a_postponed_capture_comes_back_in_time(catalog, clock):
    catalog.captures.started(A, "p")
    catalog.captures.postponed(A, 7.0, "busy", state=State.SETTLING, attempts=0, busy=1)
    assert catalog.retries.due() == []
    clock.now += 7
    assert catalog.retries.due() == [str(A)]
    catalog.claims.take(A, "p", "retry")
    assert catalog.retries.due() == []


def test_giving_up_is_final_until_the_file_changes(catalog, clock):
    catalog.captures.started(A, "p")
    catalog.captures.given_up(A, STAT, "bad", state=State.FAILED)
    clock.now += 1e9
    assert catalog.retries.due() == []
    source = catalog.source(A)
    assert (source.state, source.error, source.stat, source.attempts) == ("failed", "bad", STAT, 0)


def test_a_rename_remembers_the_first_name_until_it_is_captured(catalog):
    catalog.captures.started(A, "p")
    catalog.captures.captured(A, STAT, state=State.CURRENT, version="v1")
    catalog.sightings.moved(A, B, "p")
    catalog.sightings.moved(B, C, "p")
    assert catalog.source(C).moved_from == str(A)
    assert catalog.source(A).state is State.MISSING
    assert catalog.source(B).state is State.MISSING
    catalog.captures.started(C, "p")
    catalog.captures.captured(C, STAT, state=State.CURRENT)
    assert catalog.source(C).moved_from is None


def test_what_the_queue_lost_is_found_when_it_is_empty(catalog, clock, redis_client):
    catalog.claims.take(A, "p", "change")
    assert catalog.recovery.of_messages() == 0, "it may have been taken this moment"
    clock.now += 60
    redis_client.lpush(PREFIX + QUEUE, "message")
    assert catalog.recovery.of_messages() == 0
    redis_client.delete(PREFIX + QUEUE)
    assert catalog.recovery.of_messages() == 1
    assert catalog.retries.due() == [str(A)]
    assert catalog.claims.take(A, "p", "retry")


def test_restarting_the_queue_asks_again_for_everything(catalog, redis_client):
    catalog.claims.take(A, "p", "change")
    catalog.captures.started(B, "p")
    catalog.captures.started(C, "p")
    catalog.captures.captured(C, STAT, state=State.CURRENT)
    redis_client.lpush(PREFIX + QUEUE, "message")
    redis_client.hset(PREFIX + "unacked", "tag", "message")
    catalog.recovery.restart_queue()
    assert catalog.queue() == {"waiting": 0, "running": 0}
    assert sorted(catalog.retries.due()) == [str(A), str(B)]
    assert catalog.claims.take(A, "p", "retry")


def test_a_capture_whose_process_died_waits_longer_each_time(catalog, clock):
    pauses = []
    for _ in range(3):
        catalog.captures.started(A, "p")
        catalog.captures.cut_short(A, "died")
        pauses.append(catalog.source(A).next_try - clock.now)
    assert pauses == [0.5, 1.0, 2.0]
    assert catalog.source(A).error == "died"


def test_events_tell_what_happened_in_order(catalog):
    catalog.captures.started(A, "p")
    catalog.captures.captured(A, STAT, state=State.CURRENT, version="v1")
    catalog.sightings.missing(A)
    catalog.sightings.missing(A)
    events = catalog.events()
    assert [content["event"] for _, content in events] == ["captured", "missing"]
    assert catalog.events(after=events[0][0]) == events[1:]


def test_a_file_never_heard_of_is_not_missed(catalog):
    catalog.sightings.missing(A)
    assert catalog.source(A) is None


@pytest.mark.parametrize("name", [b"/d/\xff\xfe.h5", "/d/µ – 実験.h5".encode(), b"/d/a b\n.h5"])
def test_any_file_name_survives(catalog, name):
    path = Path(name.decode(errors="surrogateescape"))
    catalog.sightings.settling([(path, "p")])
    assert [source.path for source in catalog.sources()] == [str(path)]
    assert catalog.claims.take(path, "p", "change")
    catalog.captures.started(path, "p")
    catalog.captures.captured(path, STAT, state=State.CURRENT, version="v1")
    assert catalog.source(path).version == "v1"


def test_a_newer_release_may_have_more_to_say(catalog, redis_client):
    catalog.sightings.settling([(A, "p")])
    redis_client.hset(f"{PREFIX}source:{A}", "from_the_future", "1")
    assert catalog.source(A).state is State.SETTLING


def test_thousands_of_sources_come_back_sorted(redis_client):
    catalog = Catalog(redis_client)
    paths = [Path(f"/d/{number:05}.h5") for number in range(3000)]
    catalog.sightings.settling([(path, "p") for path in reversed(paths)])
    assert [source.path for source in catalog.sources()] == [str(path) for path in paths]
