"""Retention says what restic says, whatever the clocks did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vh5d.policy.fields import UNLIMITED
from vh5d.policy.retention import judge, keeps_all
from vh5d.policy.retention_settings import Retention

COUNTED = {
    "keep_last": lambda version, _time: str(version.sequence),
    "keep_hourly": lambda _, time: time.strftime("%Y-%m-%d %H"),
    "keep_daily": lambda _, time: time.strftime("%Y-%m-%d"),
    "keep_weekly": lambda _, time: time.strftime("%G-%V"),
    "keep_monthly": lambda _, time: time.strftime("%Y-%m"),
    "keep_yearly": lambda _, time: time.strftime("%Y"),
}
ZONES = [UTC, *map(ZoneInfo, ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"])]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2026, 3, 27, 22, 15, tzinfo=UTC)  # two days before clocks go forward in Berlin
LATER = datetime(2500, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Kept:
    name: str
    timestamp: datetime
    sequence: int
    tags: tuple[str, ...] = ()


def rules(**settings):
    """Rules; none, too, which a configuration may not say."""
    return Retention.model_construct(
        **{**Retention(keep_last=1).model_dump(), "keep_last": None, **settings}
    )


def made(times, tags=None):
    tags = tags or {}
    return [Kept(f"v{i}", time, i, tuple(tags.get(i, ()))) for i, time in enumerate(times, 1)]


def kept(versions, now=LATER, zone=UTC, **settings):
    return [
        each.name for each in judge(versions, rules(**settings), now=now, zone=zone) if each.kept
    ]


steps = st.one_of(
    st.integers(0, 3 * 3600),
    st.integers(0, 40 * 86400),
    st.integers(-3 * 86400, 0),
    st.sampled_from([-30, -24, -7, 5, 12, 24, 31]).map(lambda hours: 3600 * hours),
    st.sampled_from([-30 * 365 * 86400, 400 * 86400]),
)
counts = st.one_of(st.none(), st.integers(0, 5), st.just(UNLIMITED))
some_rules = st.fixed_dictionaries(
    {
        **dict.fromkeys(COUNTED, counts),
        "keep_within": st.one_of(
            st.none(), st.integers(1, 60 * 24).map(lambda hours: hours * 3600.0)
        ),
        "keep_tagged": st.booleans(),
    }
)


@st.composite
def histories(draw, steps=steps):
    times, now = [], START
    for seconds in draw(st.lists(steps, max_size=25)):
        now += timedelta(seconds=seconds)
        times.append(now)
    tags = draw(st.dictionaries(st.integers(1, 25), st.just(("best",)), max_size=3))
    return made(times, tags)


def expected(versions, settings, now, zone):
    """What stays, rule by rule, each said as plainly as can be."""
    if not versions:
        return set()
    if not settings["keep_within"] and not any(settings[rule] for rule in COUNTED):
        return {version.name for version in versions}
    newest_first = sorted(versions, key=lambda version: -version.sequence)
    stays = set()
    if settings["keep_tagged"]:
        stays |= {version.name for version in versions if version.tags}
    for rule, label in COUNTED.items():
        buckets = {}
        for version in newest_first:
            bucket = label(version, version.timestamp.astimezone(zone))
            buckets.setdefault(bucket, version.name)
        count = settings[rule] or 0
        wanted = list(buckets.values())
        stays |= set(wanted if count == UNLIMITED else wanted[:count])
        if count == UNLIMITED or len(wanted) < count:
            stays.add(newest_first[-1].name)
    if settings["keep_within"]:
        past = [version for version in versions if version.timestamp <= now]
        latest = max((version.timestamp for version in past), default=None)
        for version in versions:
            earlier = [each.timestamp for each in past if each.sequence <= version.sequence]
            time = max([version.timestamp, *earlier])
            if latest is None or latest - time < timedelta(seconds=settings["keep_within"]):
                stays.add(version.name)
    return stays


@given(histories(), some_rules, st.sampled_from(ZONES), st.integers(0, 60))
def test_the_rules_are_what_they_are_said_to_be(versions, settings, zone, days):
    now = START + days * DAY
    verdicts = judge(versions, rules(**settings), now=now, zone=zone)
    assert [each.name for each in verdicts] == [version.name for version in versions]
    stays = {each.name for each in verdicts if each.kept}
    assert stays == expected(versions, settings, now, zone)
    assert not versions or versions[-1].name in stays


def restic(versions, settings, zone):
    """`ApplyPolicy` of restic's snapshot_policy.go, as it stands there."""
    latest = max((version.timestamp for version in versions), default=None)
    newest_first = sorted(versions, key=lambda version: version.timestamp, reverse=True)
    buckets = [[settings[rule] or 0, label, None] for rule, label in COUNTED.items()]
    stays = set()
    for nr, version in enumerate(newest_first):
        keep = bool(settings["keep_tagged"] and version.tags)
        within = settings["keep_within"]
        if within and version.timestamp > latest - timedelta(seconds=within):
            keep = True
        for bucket in buckets:
            if bucket[0] > 0 or bucket[0] == -1:
                value = bucket[1](version, version.timestamp.astimezone(zone))
                if value != bucket[2] or nr == len(newest_first) - 1:
                    keep = True
                    bucket[2] = value
                    if bucket[0] > 0:
                        bucket[0] -= 1
        if keep:
            stays.add(version.name)
    return stays


@given(histories(steps=st.integers(1, 20 * 86400)), some_rules, st.sampled_from(ZONES))
def test_where_clocks_go_forward_only_it_is_restics_answer(versions, settings, zone):
    if keeps_all(rules(**settings)):
        return
    assert set(kept(versions, zone=zone, **settings)) == restic(versions, settings, zone)


@given(histories(), some_rules, st.sampled_from(ZONES))
def test_what_stayed_stays_when_asked_again(versions, settings, zone):
    def again(those):
        stays = kept(those, zone=zone, **settings)
        return [version for version in those if version.name in stays]

    once = again(versions)
    assert again(once) == once


def test_a_version_has_every_reason_there_is():
    versions = made([START, START + HOUR], tags={2: ["published"]})
    verdicts = judge(
        versions,
        rules(keep_last=1, keep_daily=1, keep_within=3 * 86400.0),
        now=LATER,
        zone=UTC,
    )
    assert verdicts[1].reasons == ("tagged published", "within 3d", "last", "daily")


def test_the_hour_that_comes_twice_in_autumn_is_one():
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 summer time, and again an hour later
    versions = made([before - HOUR, before, before + HOUR, before + 2 * HOUR])
    assert kept(versions, zone=berlin, keep_hourly=2) == ["v3", "v4"]
    assert kept(versions, zone=UTC, keep_hourly=3) == ["v2", "v3", "v4"]
    assert kept(versions, zone=berlin, keep_hourly=3) == ["v1", "v3", "v4"]


def test_days_begin_where_the_zone_says():
    versions = made([datetime(2026, 7, 1, hour, tzinfo=UTC) for hour in (20, 21, 22, 23)])
    assert kept(versions, zone=UTC, keep_daily=1) == ["v4"]
    assert kept(versions, zone=ZoneInfo("Europe/Berlin"), keep_daily=2) == ["v2", "v4"]


def test_what_is_just_as_old_goes():
    versions = made([START, START + timedelta(seconds=1), START + DAY])
    assert kept(versions, keep_within=86400.0) == ["v2", "v3"]


def test_weeks_are_of_iso():
    # 31 December 2026 and 2 January 2027 are in week 53 of 2026.
    versions = made([datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC)])
    assert kept(versions, keep_weekly=1) == ["v2"]
    assert kept(versions, keep_yearly=2) == ["v1", "v2"]


def test_the_day_of_the_local_clock_counts_unless_a_zone_is_named(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        times = [datetime(2026, 7, 1, hour, tzinfo=UTC) for hour in (11, 13)]  # midnight is at 12
        assert kept(made(times), zone=None, keep_daily=2) == ["v1", "v2"]
        assert kept(made(times), zone=UTC, keep_daily=1) == ["v2"]
    finally:
        monkeypatch.undo()
        time.tzset()


class TestClocksThatAreSetBack:
    def test_the_newest_is_the_one_that_was_committed_last(self):
        versions = made([START, START + HOUR, START - 3000 * DAY])
        assert kept(versions, keep_last=1) == ["v3"]
        assert kept(versions, keep_within=60.0) == ["v2", "v3"]

    def test_a_day_that_comes_again_is_no_other_day(self):
        versions = made([START - 9 * DAY, START, START - DAY, START + HOUR])
        assert kept(versions, keep_daily=3) == ["v1", "v3", "v4"]

    def test_what_came_after_is_no_older_than_what_came_before(self):
        broken = datetime(1970, 1, 1, tzinfo=UTC)
        versions = made([START - 90 * DAY, START, broken, broken + HOUR, START + DAY])
        assert kept(versions, keep_within=30 * 86400.0) == ["v2", "v3", "v4", "v5"]

    def test_a_time_in_the_future_makes_nothing_old(self):
        versions = made([START, START + 4000 * DAY, START + DAY])
        stays = kept(versions, now=START + 2 * DAY, keep_within=2 * 86400.0)
        assert stays == ["v1", "v2", "v3"]


@pytest.mark.parametrize("said", ["unlimited", UNLIMITED])
def test_as_many_as_there_are(said):
    versions = made([START + i * HOUR for i in range(50)])
    settings = Retention(keep_daily=said)
    assert settings.keep_daily == UNLIMITED
    assert Retention.model_validate_json(settings.model_dump_json()) == settings
    assert kept(versions, keep_daily=UNLIMITED) == ["v1", "v2", "v26", "v50"]


def test_nothing_said_keeps_all():
    versions = made([START + i * DAY for i in range(5)])
    assert len(kept(versions)) == 5
    assert len(kept(versions, keep_last=0, keep_tagged=True)) == 5
    assert judge([], rules(keep_last=1), now=LATER) == []


@pytest.mark.parametrize("tagged", [True, False])
def test_tagged_versions_stay_unless_told(tagged):
    versions = made([START + i * DAY for i in range(4)], tags={2: ["best"]})
    stays = kept(versions, keep_last=1, keep_tagged=tagged)
    assert stays == (["v2", "v4"] if tagged else ["v4"])


def test_the_order_in_which_they_come_is_of_no_account():
    versions = made([START + i * DAY for i in range(6)])
    asked = [replace(version) for version in reversed(versions)]
    assert kept(asked, keep_last=2) == ["v5", "v6"]
