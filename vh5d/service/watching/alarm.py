"""Something to do every so often."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Alarm:
    """Rings when it is time, and then every `pause` seconds.

    Parameters
    ----------
    pause
        Seconds from one time to the next.
    at
        When it rings next, by whatever clock it is asked with.
    """

    pause: float
    at: float

    def rings(self, now: float) -> bool:
        """Whether it is time; once it was told, it sleeps for `pause`."""
        if now < self.at:
            return False
        self.at = now + self.pause
        return True
