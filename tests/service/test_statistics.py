"""What is counted of captures, by the catalog that they end in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from vh5d.service.catalog import statistics
from vh5d.service.catalog.source import FileStat, State

A = Path("/d/a.h5")
STAT = FileStat(size=1000, mtime_ns=20, inode=30, device=40)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def read(client, now=NOON):
    return statistics.read(client, "p", now)


@pytest.fixture
def make(catalog, clock):
    def make(*, changed=True, wait=0.5, path=A):
        catalog.claims.take(path, "p", "change", "c1")
        clock.now += wait
        before = catalog.captures.started(path, "p")
        catalog.captures.captured(
            path,
            STAT,
            state=State.CURRENT,
            before=before,
            changed=changed,
            bytes_added=100,
            seconds=0.2,
        )

    return make


def test_a_version_is_counted_with_its_bytes_and_how_late_it_was(make, redis_client, clock):
    clock.now = NOON.timestamp()
    make(wait=0.5)
    make(changed=False)
    found = read(redis_client)
    assert found.captures == {"version": 1, "unchanged": 1, "postponed": 0, "failed": 0}
    assert (found.source_bytes, found.stored_bytes) == (1000, 100)
    assert found.lags == (0.5,)
    assert found.lag.total == 0.5
    assert found.seconds.counts[statistics.BOUNDS.index(0.25)] == 2
    assert found.last_change == NOON.timestamp() + 0.5
    assert found.last_success == NOON.timestamp() + 1.0


def test_an_attempt_that_fails_makes_the_version_after_it_late(make, catalog, redis_client, clock):
    catalog.claims.take(A, "p", "change", "c1")
    clock.now += 1
    before = catalog.captures.started(A, "p")
    catalog.captures.postponed(
        A, 3, "busy", state=State.SETTLING, attempts=0, busy=1, before=before
    )
    clock.now += 3
    make(wait=0.5)
    assert read(redis_client).lags == (4.5,)
    clock.now += 100
    make(wait=0.25)
    assert read(redis_client).lags == (0.25, 4.5), "the next state begins anew"


def test_a_change_during_the_capture_is_measured_by_itself(catalog, redis_client, clock):
    catalog.claims.take(A, "p", "change", "c1")
    first = catalog.captures.started(A, "p")
    clock.now += 1
    assert catalog.claims.take(A, "p", "change", "c2")
    clock.now += 1
    catalog.captures.captured(A, STAT, state=State.CURRENT, before=first, changed=True)
    clock.now += 5
    second = catalog.captures.started(A, "p")
    catalog.captures.captured(A, STAT, state=State.CURRENT, before=second, changed=True)
    assert read(redis_client).lags == (6.0, 2.0)
    assert [content["capture"] for _, content in catalog.events()] == ["c1", "c2"]


@pytest.mark.parametrize(
    ("zone", "today"),
    [(UTC, 2), (timezone(timedelta(hours=-5)), 1), (timezone(timedelta(hours=5, minutes=45)), 3)],
)
def test_today_is_that_of_the_zone(make, redis_client, clock, zone, today):
    midnight = NOON.replace(hour=0)
    for minutes in (-361, -346, -14, 1, 700):
        clock.now = (midnight + timedelta(minutes=minutes)).timestamp()
        make(wait=0)
    assert read(redis_client, NOON.astimezone(zone)).today == today


def test_percentiles_are_those_of_the_last_versions(make, redis_client):
    for wait in range(100):
        make(wait=float(wait))
    found = read(redis_client)
    assert (found.lag_at(0.5), found.lag_at(0.99)) == (50.0, 99.0)
    assert read(redis_client, NOON).lag_at(1.0) == 99.0


def test_nothing_counted_is_nothing(redis_client):
    found = read(redis_client)
    assert (found.today, found.lag_at(0.5), found.last_success) == (0, None, None)
    assert sum(found.lag.counts) == 0
