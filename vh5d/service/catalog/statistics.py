"""Figures of each policy, in Redis: counted where captures end, read by `status` and metrics.

Keys, all below `vh5d:`::

    tally:<policy>             hash of counters, see `count`
    lags:<policy>              list: the last versions, each "TIME LAG" in seconds, newest first
    versions:<policy>:<date>   hash of versions by quarter of an hour of a day in UTC

A broker that forgets everything begins to count anew, as a process that restarts would.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import redis

PREFIX = "vh5d:"
#: Upper bounds of the histograms, in seconds.
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
#: Versions whose lag is remembered, by policy.
SAMPLE = 1000
#: Every zone's midnight is a whole number of these from that of UTC.
QUARTER = 900
#: Seconds that the versions of a day are remembered: today, wherever that is.
DAYS_KEPT = 3 * 86400

Outcome = Literal["version", "unchanged", "postponed", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("version", "unchanged", "postponed", "failed")


@dataclass(frozen=True)
class Histogram:
    """Counts by bucket of `BOUNDS` (one more for what is larger), and their sum in seconds."""

    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True)
class Figures:
    """What was counted of a policy since the broker began.

    Parameters
    ----------
    captures
        By outcome.
    source_bytes, stored_bytes
        Of the versions that were made: the size of their files, and what the stores took in.
    dropped, returned_bytes
        Versions that retention dropped, and what came back of their space.
    today
        Versions since midnight.
    lags
        Seconds from a file's coming to rest to its version, of the last `SAMPLE` versions.
    last_success, last_change
        When a capture last went well, and when a version was last made; None: never.
    """

    captures: dict[Outcome, int]
    seconds: Histogram
    lag: Histogram
    source_bytes: int = 0
    stored_bytes: int = 0
    dropped: int = 0
    returned_bytes: int = 0
    today: int = 0
    last_success: float | None = None
    last_change: float | None = None
    lags: tuple[float, ...] = field(default=())

    def lag_at(self, part: float) -> float | None:
        """The lag that this part of the sample does not exceed: 0.99 for p99."""
        if not self.lags:
            return None
        ordered = sorted(self.lags)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def count(
    pipeline: redis.client.Pipeline,
    now: float,
    policy: str,
    outcome: Outcome,
    *,
    seconds: float | None = None,
    settled_at: float | None = None,
    source_bytes: int | None = None,
    stored_bytes: int | None = None,
) -> None:
    """Count one attempt.

    Parameters
    ----------
    now
        Seconds since the epoch.
    seconds
        How long it took.
    settled_at
        When the file had come to rest; None: not known.
    source_bytes, stored_bytes
        Of a version.
    """
    tally = _tally(policy)
    pipeline.hincrby(tally, f"captures:{outcome}", 1)
    if seconds is not None:
        _observe(pipeline, tally, "seconds", seconds)
    if outcome in {"version", "unchanged"}:
        pipeline.hset(tally, "last_success", str(now))
    if outcome != "version":
        return
    pipeline.hset(tally, "last_change", str(now))
    pipeline.hincrby(tally, "source_bytes", source_bytes or 0)
    pipeline.hincrby(tally, "stored_bytes", stored_bytes or 0)
    moment = datetime.fromtimestamp(now, UTC)
    day = _day(policy, moment)
    pipeline.hincrby(day, str(int(now % 86400) // QUARTER), 1)
    pipeline.expire(day, DAYS_KEPT)
    if settled_at is not None:
        lag = max(0.0, now - settled_at)
        _observe(pipeline, tally, "lag", lag)
        pipeline.lpush(f"{PREFIX}lags:{policy}", f"{now:.3f} {lag:.4f}")
        pipeline.ltrim(f"{PREFIX}lags:{policy}", 0, SAMPLE - 1)


def count_dropped(client: redis.Redis, policy: str, versions: int, nbytes: int) -> None:
    """Retention dropped versions of a policy; `nbytes` of space came back."""
    pipeline = client.pipeline(transaction=False)
    pipeline.hincrby(_tally(policy), "dropped", versions)
    pipeline.hincrby(_tally(policy), "returned_bytes", nbytes)
    pipeline.execute()


def read(client: redis.Redis, policy: str, now: datetime) -> Figures:
    """The figures of a policy; `now`, aware, says which day it is."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = sorted({midnight.astimezone(UTC).date(), now.astimezone(UTC).date()})
    pipeline = client.pipeline(transaction=False)
    pipeline.hgetall(_tally(policy))
    pipeline.lrange(f"{PREFIX}lags:{policy}", 0, -1)
    for day in days:
        pipeline.hgetall(_day(policy, datetime(day.year, day.month, day.day, tzinfo=UTC)))
    tally, lags, *quarters = pipeline.execute()
    return Figures(
        captures={outcome: int(tally.get(f"captures:{outcome}", 0)) for outcome in OUTCOMES},
        seconds=_histogram(tally, "seconds"),
        lag=_histogram(tally, "lag"),
        source_bytes=int(tally.get("source_bytes", 0)),
        stored_bytes=int(tally.get("stored_bytes", 0)),
        dropped=int(tally.get("dropped", 0)),
        returned_bytes=int(tally.get("returned_bytes", 0)),
        today=sum(
            int(number)
            for day, found in zip(days, quarters, strict=True)
            for quarter, number in found.items()
            if datetime(day.year, day.month, day.day, tzinfo=UTC)
            + timedelta(seconds=int(quarter) * QUARTER)
            >= midnight
        ),
        last_success=_time(tally, "last_success"),
        last_change=_time(tally, "last_change"),
        lags=tuple(float(each.split()[1]) for each in lags),
    )


def _observe(pipeline: redis.client.Pipeline, tally: str, name: str, value: float) -> None:
    pipeline.hincrby(tally, f"{name}:{bisect_left(BOUNDS, value)}", 1)
    pipeline.hincrbyfloat(tally, f"{name}:sum", value)


def _histogram(tally: dict[str, Any], name: str) -> Histogram:
    counts = tuple(int(tally.get(f"{name}:{i}", 0)) for i in range(len(BOUNDS) + 1))
    return Histogram(counts, float(tally.get(f"{name}:sum", 0.0)))


def _time(tally: dict[str, Any], name: str) -> float | None:
    return float(tally[name]) if name in tally else None


def _tally(policy: str) -> str:
    return f"{PREFIX}tally:{policy}"


def _day(policy: str, moment: datetime) -> str:
    return f"{PREFIX}versions:{policy}:{moment:%Y-%m-%d}"
