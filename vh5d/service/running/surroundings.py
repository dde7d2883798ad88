"""What the processes of a service have from outside: the clock on the wall, and their program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def wall_clock() -> datetime:
    """Return the present, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Surroundings:
    """Where a service runs.

    Attributes
    ----------
    present
        The clock on the wall: versions have their times from it, nights come and versions age by
        it. How long something takes or waits is another clock's affair.
    program
        What Python is told to run for each process, which is told the name of a command then.
    """

    present: Callable[[], datetime] = wall_clock
    program: tuple[str, ...] = ("-m", "vh5d")


HERE = Surroundings()
