"""Which versions stay: restic's rules (`restic forget --keep-…`), as arithmetic.

Every rule is asked of every version, newest first; one that any of them keeps stays:

* ``keep_last``: the newest so many.
* ``keep_hourly``, ``daily``, ``weekly``, ``monthly``, ``yearly``: of the last so many hours (days,
  ISO weeks, …) *that have versions*, the newest of each. While a rule has not had its number the
  oldest version stays as well, so that history reaches back as far as it can.
* ``keep_within``: all that are less than this old, counted from the newest that is not in the
  future. A day is 24 hours here; restic counts back in the calendar.
* ``keep_tagged``: all that have a tag. It is no reason for others to go: with nothing else set,
  all stay.

Versions are in the order of their sequence numbers, not of their times, for clocks are set back.
So the newest of a day is the one committed last; a day that comes twice is one day still; and a
version that was committed after another counts for ``keep_within`` as no older than that one.
The newest version stays, whatever the rules are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import accumulate
from typing import Protocol

from vh5d.policy.retention_settings import Retention
from vh5d.policy.units import format_duration

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class Version(Protocol):
    """What retention has to know of a version; times are aware."""

    @property
    def name(self) -> str:
        """Tells it from others."""

    @property
    def timestamp(self) -> datetime:
        """When it was committed, as the clock said."""

    @property
    def sequence(self) -> int:
        """Its place among the others."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Names that it was given."""


@dataclass(frozen=True)
class Verdict:
    """What the rules say of one version.

    Attributes
    ----------
    reasons
        Why it stays, for people; none when it goes.
    """

    name: str
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def keeps_all(rules: Retention) -> bool:
    """Whether no rule is set that would let anything go."""
    return not rules.keep_within and not any(rule.count for rule in _counted(rules))


def judge(
    versions: Sequence[Version], rules: Retention, *, now: datetime, zone: tzinfo | None = None
) -> list[Verdict]:
    """Say of each version whether it stays, and why.

    Parameters
    ----------
    versions
        All versions of one store, in any order.
    rules
        What to keep.
    now
        The present, aware: what is later was committed by a clock that was wrong.
    zone
        Where hours, days and weeks begin; None: where this machine is.

    Returns
    -------
    A verdict for each version, oldest (by sequence number) first.
    """
    ordered = sorted(versions, key=lambda version: version.sequence)
    if not ordered or keeps_all(rules):
        return [Verdict(version.name, ("no rule",)) for version in ordered]
    reasons: list[list[str]] = [[] for _ in ordered]
    if rules.keep_tagged:
        for version, why in zip(ordered, reasons, strict=True):
            why += [f"tagged {tag}" for tag in version.tags]
    if rules.keep_within:
        reason = f"within {format_duration(rules.keep_within)}"
        for i in _within(ordered, timedelta(seconds=rules.keep_within), now):
            reasons[i].append(reason)
    local = [version.timestamp.astimezone(zone) for version in ordered]
    for rule in _counted(rules):
        _count_down(rule, local, reasons)
    return [
        Verdict(version.name, tuple(why)) for version, why in zip(ordered, reasons, strict=True)
    ]


@dataclass(frozen=True)
class _Counted:
    """A rule that keeps one version of each of so many buckets."""

    count: int | None
    reason: str
    bucket: Callable[[int, datetime], Hashable]


def _counted(rules: Retention) -> tuple[_Counted, ...]:
    return (
        _Counted(rules.keep_last, "last", lambda i, _time: i),
        _Counted(
            rules.keep_hourly,
            "hourly",
            lambda _, time: (time.year, time.month, time.day, time.hour),
        ),
        _Counted(rules.keep_daily, "daily", lambda _, time: time.date()),
        _Counted(rules.keep_weekly, "weekly", lambda _, time: time.isocalendar()[:2]),
        _Counted(rules.keep_monthly, "monthly", lambda _, time: (time.year, time.month)),
        _Counted(rules.keep_yearly, "yearly", lambda _, time: time.year),
    )


def _count_down(rule: _Counted, local: Sequence[datetime], reasons: list[list[str]]) -> None:
    """Note what a rule keeps, newest first."""
    left = rule.count or 0
    seen: set[Hashable] = set()
    for i in reversed(range(len(local))):
        if left == 0:
            return
        bucket = rule.bucket(i, local[i])
        if bucket not in seen:
            reasons[i].append(rule.reason)
        elif i == 0:
            reasons[i].append(f"oldest {rule.reason}")
        else:
            continue
        seen.add(bucket)
        left -= 1


def _within(ordered: Sequence[Version], span: timedelta, now: datetime) -> list[int]:
    """Return the numbers of those that are less than `span` older than the newest."""
    times = [version.timestamp for version in ordered]
    believed = [time if time <= now else _EARLIEST for time in times]
    latest = max(believed)
    if latest == _EARLIEST:
        return list(range(len(ordered)))  # all in the future: nobody knows how old they are
    start = latest - min(span, latest - _EARLIEST)
    reached = accumulate(believed, max)
    return [
        i
        for i, (time, so_far) in enumerate(zip(times, reached, strict=True))
        if max(time, so_far) > start
    ]
