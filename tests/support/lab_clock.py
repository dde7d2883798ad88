"""A clock on the wall that goes faster than the clocks of the machine."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True)
class LabClock:
    """Tells the time of a lab, in all processes alike.

    Parameters
    ----------
    begin
        When the lab opened, in seconds since the epoch.
    at
        When that was by the machine's clock, in seconds since the epoch.
    scale
        Seconds of the lab in one of the machine's.
    """

    begin: float
    at: float
    scale: float

    @classmethod
    def starting_now(cls, begin: datetime, scale: float) -> LabClock:
        return cls(begin.timestamp(), time.time(), scale)

    def __call__(self) -> datetime:
        passed = (time.time() - self.at) * self.scale
        return datetime.fromtimestamp(self.begin, UTC) + timedelta(seconds=passed)

    @property
    def day(self) -> float:
        """Days since the lab opened."""
        return (time.time() - self.at) * self.scale / 86400

    def seconds_until(self, day: float) -> float:
        """The machine's seconds until so many days have passed."""
        return max(0.0, self.at + day * 86400 / self.scale - time.time())

    def told(self) -> dict[str, Any]:
        """What another process needs to make the same clock."""
        return asdict(self)
