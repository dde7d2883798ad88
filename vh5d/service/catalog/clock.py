"""One clock for all hosts: the broker's.

Leases, and what is to be tried again when, are times that one host writes and another reads. A
host whose own clock is off by a minute would find every lease ended, or none for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

#: Seconds between two looks at the broker's clock: quartz drifts by far less in that time.
LOOK_PAUSE = 60.0


class BrokerClock:
    """Seconds since the epoch, as the broker has them; calling may raise `redis.RedisError`.

    Parameters
    ----------
    client
        Of the broker; asked at the first call, and then every minute.
    clock
        Seconds of this host, that do not go back.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._ahead: float | None = None
        self._looked = 0.0

    def __call__(self) -> float:
        """What the broker's clock says now."""
        now = self._clock()
        if self._ahead is None or now - self._looked >= LOOK_PAUSE:
            self._look()
            now = self._clock()
        return now + (self._ahead or 0.0)

    def _look(self) -> None:
        sent = self._clock()
        try:
            told: Any = self._client.time()
        except redis.RedisError:
            if self._ahead is None:
                raise
            return  # as it was, until the broker is back
        self._looked = self._clock()
        seconds, microseconds = told
        self._ahead = seconds + microseconds / 1e6 - (sent + self._looked) / 2
