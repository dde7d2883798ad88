"""Durations and sizes as people write them, and back."""

from __future__ import annotations

import re

_DAY_S = 86400.0
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SECONDS |= {"d": _DAY_S, "w": 7 * _DAY_S, "mo": 30 * _DAY_S, "y": 365 * _DAY_S}
_UNITS = "ms|min|mo|s|m|h|d|w|y"
_DURATION_PART = re.compile(rf"([0-9]+(?:\.[0-9]+)?) ?({_UNITS})(?![A-Za-z])")
_LONGEST_S = 100 * 365 * _DAY_S

DURATION_PATTERN = rf"^([0-9]+(\.[0-9]+)? ?({_UNITS}) ?)+$"
DURATION_EXPECTED = "expected e.g. 500ms, 2s, 10m, 1h30m"
PERIOD_EXPECTED = "expected e.g. 12h, 7d, 2w, 3mo (of 30 days), 1y (of 365)"

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BYTES: dict[str, int] = {
    **{unit.lower(): 1000**power for power, unit in enumerate(_DECIMAL)},
    **{unit.lower(): 1024**power for power, unit in enumerate(_BINARY)},
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")
SIZE_EXPECTED = "expected e.g. 512 B, 10 MiB, 1.5 GB"
RATE_EXPECTED = "expected e.g. 50 MB/s"


def parse_duration(text: str) -> float:
    """Seconds of a duration like ``500ms``, ``2s``, ``10m`` or ``1h30m``.

    Units are ms, s, m (or min), h, d, w, mo (30 days) and y (365 days), the larger
    before the smaller, each once.

    Raises
    ------
    ValueError
        With what is wrong, without what was expected (`DURATION_EXPECTED`).
    """
    seconds, end, previous = 0.0, 0, float("inf")
    text = text.strip()
    while end < len(text):
        part = _DURATION_PART.match(text, end)
        if part is None or _SECONDS[part[2]] >= previous:
            break
        previous = _SECONDS[part[2]]
        seconds += float(part[1]) * previous
        end = part.end() + (text[part.end() : part.end() + 1] == " ")
    if not text or end < len(text):
        message = f"{text!r} is not a duration"
        raise ValueError(message)
    if seconds > _LONGEST_S:
        message = f"{text!r} is longer than a hundred years"
        raise ValueError(message)
    return seconds


def parse_period(text: str) -> float:
    """Seconds of a long duration like ``7d``, ``2w``, ``3mo`` or ``1y``.

    Raises
    ------
    ValueError
        As of `parse_duration`; and for ``m``, which some programs take for months.
    """
    seconds = parse_duration(text)
    if re.search(r"m(?![A-Za-z])", text):
        message = f"{text!r} may mean minutes (min) or months (mo)"
        raise ValueError(message)
    return seconds


def format_duration(seconds: float) -> str:
    """`seconds`, to the millisecond, as `parse_duration` reads it: ``1h30m``."""
    rest = round(seconds * 1000)
    parts = []
    for unit, milliseconds in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        count, rest = divmod(rest, milliseconds)
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        parts.append(f"{rest}ms")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Bytes of a size like ``512 B``, ``10 MiB`` (of 1024) or ``1.5 GB`` (of 1000).

    Raises
    ------
    ValueError
        With what is wrong, without what was expected (`SIZE_EXPECTED`).
    """
    size = _SIZE.fullmatch(text.strip())
    if size is None or size[2].lower() not in _BYTES:
        message = f"{text!r} is not a size"
        raise ValueError(message)
    return round(float(size[1]) * _BYTES[size[2].lower()])


def parse_rate(text: str) -> int:
    """Bytes a second of a rate like ``50 MB/s``.

    Raises
    ------
    ValueError
        With what is wrong, without what was expected (`RATE_EXPECTED`).
    """
    rate = re.fullmatch(r"(.*)/ ?s", text.strip())
    if rate is None or not _SIZE.fullmatch(rate[1].strip()):
        message = f"{text!r} is not a rate"
        raise ValueError(message)
    return parse_size(rate[1])


def format_size(nbytes: int) -> str:
    """`nbytes` to three digits, in units of 1024: ``1.5 GiB``."""
    value, power = float(nbytes), 0
    while abs(value) >= 1023.5 and power < len(_BINARY) - 1:
        value /= 1024
        power += 1
    digits = 0 if power == 0 or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    number = f"{value:.{digits}f}"
    if digits:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {_BINARY[power]}"
