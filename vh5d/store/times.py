"""Points in time, as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from vh5d.errors import UsageError

_WITH_ZONE = re.compile(r"(?P<time>\d{4}\S*(?:[ T]\d[\d:.,]*)?) +(?P<zone>[A-Za-z][\w/+-]*)")
_EXAMPLES = (
    "write it like 2026-11-24, 2026-11-24T09:30 (local), 2026-11-24T09:30Z, "
    '2026-11-24T09:30+01:00 or "2026-11-24 09:30 Europe/Berlin"'
)


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time, with an offset or the name of a zone behind it; else it is local.

    A time that a zone's clocks show twice is the earlier one.

    Raises
    ------
    UsageError
        It is no time, or there is no such zone.
    """
    stripped = text.strip()
    named = _WITH_ZONE.fullmatch(stripped)
    time = _parse(named["time"] if named else stripped, text)
    if named is None:
        return _in_utc(time, text)
    if time.tzinfo is not None:
        raise UsageError(f"{text!r} has an offset and a zone", hint="leave one of them out")
    return _in_utc(time.replace(tzinfo=_zone(named["zone"])), text)


def _parse(time: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(time)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time", hint=_EXAMPLES) from error


def _in_utc(time: datetime, text: str) -> datetime:
    try:
        return time.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{text!r} is out of range", hint=_EXAMPLES) from error


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(
            f"{name!r} is not a time zone", hint="write it like Europe/Berlin, UTC or +01:00"
        ) from error
