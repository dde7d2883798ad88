"""Reads no faster than it may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """Lets so many bytes a second through, whichever threads ask.

    Parameters
    ----------
    rate
        Bytes a second.
    clock
        Seconds that do not go back.
    sleep
        Waits for some seconds.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def take(self, nbytes: int) -> None:
        """Wait until so many bytes may be read."""
        with self._lock:
            now = self._clock()
            begin = max(now, self._free_at)
            self._free_at = begin + nbytes / self._rate
        if begin > now:
            self._sleep(begin - now)
