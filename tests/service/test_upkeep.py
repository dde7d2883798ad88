"""When stores are thinned, and by whom: once a night, however often it is cut short."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import wait_for
from vh5d.service.stores import upkeep as upkeep_module
from vh5d.service.stores.upkeep import MOST_ATTEMPTS, Lease, Record, Upkeep, last_night

HALF_PAST_TWO = time_of_day(2, 30)


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def night(now, at=HALF_PAST_TWO):
    return datetime.fromtimestamp(last_night(at, now), UTC)


def test_the_last_night_is_of_the_local_clock(berlin):
    assert night(datetime(2026, 7, 2, 0, 29, tzinfo=UTC)).day == 1
    assert night(datetime(2026, 7, 2, 0, 30, tzinfo=UTC)) == datetime(2026, 7, 2, 0, 30, tzinfo=UTC)
    assert night(datetime(2026, 1, 2, 1, 29, tzinfo=UTC)).day == 1


def test_nights_when_clocks_change(berlin):
    spring = datetime(2026, 3, 29, tzinfo=UTC)  # there is no half past two
    assert night(spring + timedelta(hours=12)) == spring + timedelta(hours=1, minutes=30)
    autumn = datetime(2026, 10, 25, tzinfo=UTC)  # there are two
    assert night(autumn + timedelta(hours=12)) == autumn + timedelta(minutes=30)


@given(st.integers(1_735_700_000, 1_830_000_000), st.times())
def test_a_night_is_past_and_not_long_past(now, at):
    now = datetime.fromtimestamp(now, UTC)
    found = night(now, at.replace(microsecond=0))
    assert timedelta() <= now - found <= timedelta(hours=25)


class TestRounds:
    def test_a_night_has_one(self):
        record = Record()
        assert record.wants_round(1000.0, 1010.0)
        record = record.at_begin(1000.0, 1010.0, "here")
        done = replace(record, ended=1020.0)
        assert not done.wants_round(1000.0, 1030.0)
        assert done.wants_round(87400.0, 87400.0)

    def test_missed_nights_are_caught_up_with_once(self):
        done = Record(due=1000.0, attempts=1, begun=1010.0, ended=1020.0)
        later = done.at_begin(1000.0 + 5 * 86400, 1000.0 + 5 * 86400, "here")
        assert not replace(later, ended=later.begun).wants_round(1000.0 + 5 * 86400, 1e9)

    def test_one_that_was_cut_short_is_begun_again_but_not_for_ever(self):
        record = Record()
        for attempt in range(1, MOST_ATTEMPTS + 1):
            assert record.wants_round(1000.0, 1010.0)
            record = record.at_begin(1000.0, 1010.0 + attempt, "here")
            assert record.attempts == attempt
        assert not record.wants_round(1000.0, 1100.0)
        assert record.wants_round(1000.0 + 86400, 1100.0 + 86400)

    def test_asked_for_is_once_too(self):
        record = Record(due=1000.0, attempts=1, begun=1010.0, ended=1020.0)
        asked = replace(record, asked=1030.0)
        assert asked.wants_round(1000.0, 1031.0)
        assert asked.wants_round(None, 1031.0)
        begun = asked.at_begin(None, 1032.0, "here")
        assert not replace(begun, ended=1033.0).wants_round(1000.0, 1034.0)

    def test_without_nights_only_what_is_asked_for(self):
        assert not Record().wants_round(None, 1000.0)

    def test_a_clock_that_was_far_ahead_does_not_end_maintenance(self):
        ahead = Record(due=5e9, attempts=1, begun=5e9, ended=5e9 + 1)
        assert ahead.wants_round(1000.0, 1010.0)


def test_records_are_kept_by_policy(catalog, redis_client, clock):
    upkeep = Upkeep(redis_client, clock)
    assert upkeep.record("lab") == Record()
    upkeep.write("lab", Record(due=1.0, dropped=5))
    upkeep.ask("lab")
    assert upkeep.record("lab") == Record(due=1.0, dropped=5, asked=clock.now)
    assert list(upkeep.records()) == ["lab"]


def test_a_lease_is_one_process_at_a_time(redis_client, clock):
    upkeep = Upkeep(redis_client, clock)
    with upkeep.lease("lab") as first, upkeep.lease("lab") as second, upkeep.lease("b") as other:
        assert (first.held, second.held, other.held) == (True, False, True)
        assert upkeep.is_taken("lab")
    assert not upkeep.is_taken("lab")


def test_who_hangs_loses_the_lease(redis_client, monkeypatch):
    monkeypatch.setattr(upkeep_module, "LONGEST_STORE", 0.0)
    with Lease(redis_client, "vh5d:test", seconds=0.2) as lease:
        wait_for(lambda: not lease.held, "the loss to be noticed")
        wait_for(lambda: not redis_client.exists("vh5d:test"), "the lease to end")


def test_a_lease_is_renewed_until_somebody_else_has_it(redis_client):
    with Lease(redis_client, "vh5d:test", seconds=0.4) as lease:
        redis_client.pexpire("vh5d:test", 150)
        wait_for(lambda: redis_client.pttl("vh5d:test") > 200, "a renewal")
        redis_client.delete("vh5d:test")  # the broker forgot
        wait_for(lambda: redis_client.exists("vh5d:test"), "a renewal")
        assert lease.held
        redis_client.set("vh5d:test", "another")
        wait_for(lambda: not lease.held, "the loss to be noticed")
    assert redis_client.get("vh5d:test") == "another"
