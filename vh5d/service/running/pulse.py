"""Signs of life of one role: its service manager hears of them only while its checks pass.

A process that is there but hangs, or hears of nothing any more, is no better than a dead one, and
a service manager can do what it cannot do itself: start it anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from vh5d.service.running.notify import Notifier

#: Seconds without a beat after which a loop counts as hung.
PATIENCE = 60.0
#: Longest pause between two signs of life, in seconds; half of what is tolerated, if that is less.
PAUSE = 5.0

log = structlog.stdlib.get_logger(__name__)


class Pulse:
    """A loop's, which beats in every round.

    Parameters
    ----------
    patience
        Seconds without a beat after which it counts as hung.
    clock
        Seconds that do not go back.
    """

    def __init__(
        self, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._beat_at = clock()
        self._waiting = False

    def beat(self) -> None:
        """The loop goes round."""
        self._beat_at = self._clock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The loop waits, and rightly so, for as long as it takes: for a broker that is away."""
        self._waiting = True
        try:
            yield
        finally:
            self.beat()
            self._waiting = False

    def ailment(self) -> str | None:
        """What is wrong with the loop; None: nothing."""
        silent = self._clock() - self._beat_at
        if self._waiting or silent <= self._patience:
            return None
        return f"its loop has stood still for {silent:.0f} s"


class LifeSigns:
    """Tells the service manager how a role is, in a thread of its own.

    Parameters
    ----------
    notifier
        Whom to tell.
    ailment
        What is wrong with the role; None: nothing. Called from the thread.
    """

    def __init__(self, notifier: Notifier, ailment: Callable[[], str | None]) -> None:
        self._notifier = notifier
        self._ailment = ailment
        self._said: str | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, status: str = "") -> None:
        """It works, as `status` says; from now on it is watched over."""
        self._notifier.ready(status)
        interval = self._notifier.watchdog_interval
        if interval is not None and self._thread is None:
            pause = min(PAUSE, interval)
            self._thread = threading.Thread(
                target=self._live, args=(pause,), name="signs of life", daemon=True
            )
            self._thread.start()

    def stopping(self, *, for_good: bool = True) -> None:
        """It ends as soon as what it does is done: no check says anything any more.

        Parameters
        ----------
        for_good
            Nothing takes its place in this process.
        """
        self._ailment = lambda: None
        if for_good:
            self._notifier.stopping()

    def end(self) -> None:
        """Say nothing any more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _live(self, pause: float) -> None:
        while not self._ended.is_set():
            ailment = self._ailment()
            if ailment is None:
                self._notifier.alive()
            if ailment != self._said:
                self._say(ailment)
            self._ended.wait(pause)

    def _say(self, ailment: str | None) -> None:
        self._said = ailment
        if ailment is None:
            log.warning("is well again")
            self._notifier.status("is well again")
        else:
            log.error("is not well, to be started anew if that lasts", reason=ailment)
            self._notifier.status(ailment)
