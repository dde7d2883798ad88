"""Quotas: thin first, refuse then, loudly; go on when there is room."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest

from vh5d.errors import QuotaError, StoreBusyError
from vh5d.policy import Policy
from vh5d.service.capturing import quota as module
from vh5d.service.capturing.attempt import Attempt
from vh5d.service.capturing.percent import PATIENCE, PAUSE, Percent
from vh5d.service.capturing.quota import ASK_PAUSE, BEGIN_TIMEOUT, FRESH, Quota, decide, measure
from vh5d.service.catalog.source import State
from vh5d.service.stores.maintenance import Round
from vh5d.service.stores.upkeep import Record
from vh5d.store.prune import prune
from vh5d.store.reader import open_store

MIB = 1 << 20


def write(path, seed, nbytes=MIB):
    with h5py.File(path, "w") as file:
        file["x"] = np.random.default_rng(seed).integers(0, 255, nbytes, np.uint8)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "run.h5"


@pytest.fixture
def policy(source):
    return make(source, retention={"keep_last": 1})


def make(source, on_quota="prune", **more):
    limits = {"store_quota": "3500 KiB", "on_quota": on_quota}
    watch = str(source.parent)
    return Policy.model_validate(
        {"name": "p", "watch": watch, "settle": "1s", "limits": limits, **more}
    )


@pytest.fixture
def service(policy, catalog, clock):
    return Service(policy, catalog, clock)


class Service:
    """Attempts and rounds of one policy."""

    def __init__(self, policy, catalog, clock):
        self.policy, self.catalog, self.clock = policy, catalog, clock
        self.attempt = Attempt({"p": policy}, catalog, random=lambda: 0.0)

    def capture(self, source, seed):
        write(source, seed)
        return self.again(source)

    def again(self, source):
        self.clock.now += FRESH + 1
        return self.attempt(source, "p")

    def maintain(self):
        Round(self.catalog, lambda: datetime.now(UTC)).run(self.policy, None)
        self.clock.now += 1

    @property
    def asked(self):
        return Quota(self.catalog.client, self.catalog.now)._upkeep.record("p").asked


def names(policy, source):
    with open_store(policy.store_for(source)) as reader:
        return [version.name for version in reader.versions]


def test_at_the_quota_stores_are_thinned_first(service, policy, source, catalog):
    assert [service.capture(source, seed) for seed in range(4)] == [State.CURRENT] * 4
    assert measure(policy) > 3500 * 1024
    assert service.asked is not None  # by the capture that went over it
    assert service.capture(source, 5) is State.SETTLING
    assert "thinned first" in catalog.source(source).error
    service.maintain()
    assert service.again(source) is State.CURRENT
    assert names(policy, source) == ["v4", "v5"]


def test_what_thinning_does_not_help_is_refused_and_said(source, catalog, clock):
    policy = make(source, retention={"keep_last": 100})
    service = Service(policy, catalog, clock)
    for seed in range(4):
        service.capture(source, seed)
    service.maintain()
    assert service.capture(source, 5) is State.QUOTA
    known = catalog.source(source)
    assert "take 4" in known.error
    assert "of 3.42 MiB (limits.store_quota)" in known.error
    assert known.attempts == 0
    assert known.next_try > clock.now
    assert [event["event"] for _, event in catalog.events()][-1] == "quota"
    for _ in range(10):  # for as long as it takes, and never given up
        assert service.again(source) in {State.QUOTA, State.SETTLING}
    assert len(names(policy, source)) == 4


def test_it_goes_on_by_itself_when_there_is_room(source, catalog, clock):
    policy = make(source, on_quota="refuse", retention={"keep_last": 1})
    service = Service(policy, catalog, clock)
    for seed in range(4):
        service.capture(source, seed)
    assert service.capture(source, 5) is State.QUOTA
    assert service.asked is None  # it was not to be thinned
    prune(policy.store_for(source), ["v1", "v2", "v3"])
    assert service.again(source) is State.CURRENT
    assert names(policy, source) == ["v4", "v5"]


def test_without_a_retention_nothing_is_dropped(source, catalog, clock):
    policy = make(source)
    service = Service(policy, catalog, clock)
    for seed in range(4):
        service.capture(source, seed)
    assert service.capture(source, 5) is State.QUOTA
    assert service.asked is None


def test_stores_are_measured_now_and_then(service, policy, source, catalog, monkeypatch):
    looks = []
    monkeypatch.setattr(module, "measure", lambda policy: looks.append(policy) or measure(policy))
    service.capture(source, 1)
    service.capture(source, 2)
    assert len(looks) == 1
    quota = Quota(catalog.client, catalog.now)
    assert 2 * MIB < quota.used(policy, fresh=False) < 3 * MIB
    assert 2 * MIB < quota.used(policy, fresh=True) < 3 * MIB
    assert len(looks) == 2


def test_a_policy_without_a_quota_looks_at_nothing(source, catalog, monkeypatch):
    monkeypatch.setattr(module, "measure", lambda _policy: pytest.fail("looked"))
    policy = Policy(name="p", watch=(str(source.parent),))
    quota = Quota(catalog.client, catalog.now)
    quota.admit(policy)
    quota.added(policy, 1 << 60)


def test_admitting_says_why_not(policy, source, catalog, clock):
    quota = Quota(catalog.client, catalog.now)
    store = policy.store_for(source)
    store.parent.mkdir()
    store.write_bytes(bytes(5 * MIB))
    with pytest.raises(StoreBusyError):
        quota.admit(policy)
    clock.now += BEGIN_TIMEOUT + 1  # nobody came to thin them
    with pytest.raises(QuotaError, match=r"take 5 MiB of 3.42 MiB"):
        quota.admit(policy)


OVER = {"used": 10, "quota": 10}


class TestDecisions:
    def test_room(self):
        assert decide(9, 10, Record(), can_thin=True, now=0.0) == "admit"

    def test_first_it_is_thinned(self):
        now = 1e6
        assert decide(**OVER, record=Record(), can_thin=True, now=now) == "ask"
        asked = Record(asked=now)
        assert decide(**OVER, record=asked, can_thin=True, now=now + 1) == "wait"
        begun = replace(asked, begun=now + 2)
        assert decide(**OVER, record=begun, can_thin=True, now=now + 300) == "wait"
        ended = replace(begun, ended=now + 310)
        assert decide(**OVER, record=ended, can_thin=True, now=now + 311) == "refuse"

    def test_later_it_is_tried_again(self):
        ended = Record(asked=1e6, begun=1e6, ended=1e6)
        now = 1e6 + ASK_PAUSE + 1
        assert decide(**OVER, record=ended, can_thin=True, now=now) == "ask"

    def test_nobody_waits_for_ever(self):
        asked = Record(asked=1e6)
        now = 1e6 + BEGIN_TIMEOUT
        assert decide(**OVER, record=asked, can_thin=True, now=now) == "refuse"

    def test_a_long_round_is_waited_for(self):
        at_work = Record(asked=1e6, begun=1e6 + 1)
        now = 1e6 + ASK_PAUSE + 100
        assert decide(**OVER, record=at_work, can_thin=True, now=now) == "wait"

    def test_nothing_to_thin_by(self):
        assert decide(**OVER, record=Record(), can_thin=False, now=0.0) == "refuse"


def test_long_captures_tell_how_far_they_are(catalog, clock, tmp_path):
    path = tmp_path / "a.h5"
    catalog.captures.started(path, "p")
    time = [100.0]
    percent = Percent(catalog, path, clock=lambda: time[0])
    percent(10, 100)
    assert catalog.source(path).progress is None  # it may be done in no time
    time[0] += PATIENCE
    percent(45, 100)
    assert catalog.source(path).progress == 45.0
    percent(46, 100)
    assert catalog.source(path).progress == 45.0
    time[0] += PAUSE
    percent(0, 0)
    assert catalog.source(path).progress == 0.0
    catalog.captures.started(path, "p")
    assert catalog.source(path).progress is None


def test_a_broker_that_is_away_ends_no_capture(catalog, tmp_path, monkeypatch):
    import redis

    calls = []

    def away(*_arguments):
        calls.append(1)
        raise redis.ConnectionError("away")

    monkeypatch.setattr(catalog.captures, "progress", away)
    percent = Percent(catalog, tmp_path / "a.h5", clock=iter([0.0, 10.0, 20.0, 30.0]).__next__)
    percent(1, 2)
    percent(2, 2)
    assert calls == [1]
