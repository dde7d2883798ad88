"""Words for people: tables, times, durations, what is safe to print."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from unicodedata import category

import click

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str | Path | bytes) -> str:
    r"""Return text that does nothing to a terminal: what is unprintable becomes ``\x1b``."""
    raw = text
    if not isinstance(raw, bytes):
        raw = os.fspath(raw).encode("utf-8", "surrogateescape")
    decoded = raw.decode("utf-8", "backslashreplace")
    if decoded.isprintable():
        return decoded
    return "".join(
        c.encode("unicode_escape").decode() if category(c) in _UNPRINTABLE else c for c in decoded
    )


def as_seen_from_here(path: str) -> str:
    """Return a path as it may be typed here: relative, if it is below the working directory."""
    try:
        here = os.getcwd()  # noqa: PTH109 - its name, nothing else
    except OSError:
        return path  # it was removed
    return path.removeprefix(here.rstrip("/") + "/")


def one_line(text: str) -> str:
    """Return `printable` text in one line."""
    return printable(" ".join(text.splitlines()))


def local_time(time: datetime) -> str:
    """Return a time in the local zone: ``2026-11-24 09:30:00 CET``."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def utc_time(time: datetime) -> str:
    """Return a time in UTC: ``2026-11-24 08:30:00 UTC``."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S UTC}"


def both_times(time: datetime) -> str:
    """Return a time in the local zone, and in UTC when that is another one."""
    local, utc = local_time(time), utc_time(time)
    return local if local == utc else f"{local} ({utc})"


def duration(seconds: float) -> str:
    """Return a duration to two digits or so: ``12 ms``, ``0.31 s``, ``4 min 5 s``."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 dataset``, ``2 datasets``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()
) -> str:
    """Lay out rows in aligned columns.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        The cells.
    right
        Columns that are aligned to the right.
    """
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return "\n".join([click.style(line(header), bold=True), *map(line, rows)])
