"""What a worker owes the catalog: told again and again until it is heard; and that it lives.

While the broker is away a capture may end, or its process die. Nobody would try it again for as
long as its lease says, were that not told in the end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import redis
import structlog

from vh5d.service.catalog.address import REDIS_TIMEOUT
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.retries import LEASE
from vh5d.service.catalog.roster import BEAT, identity

Word = Callable[[Catalog], None]

#: Seconds between two attempts to tell, and between two renewals of leases.
PAUSE = 1.0
RENEWAL = min(LEASE / 4, BEAT)

log = structlog.stdlib.get_logger(__name__)


class Keeper:
    """Tells the catalog in a thread of its own, and renews the leases of captures at work.

    Parameters
    ----------
    catalog
        Whom to tell.
    about
        What else the roster is to say of this worker.
    """

    def __init__(self, catalog: Catalog, about: dict[str, Any] | None = None) -> None:
        self._catalog = catalog
        self._about = {**identity(), **(about or {})}
        self._draining = False
        self._words: deque[Word] = deque()
        self._work: dict[Hashable, Path] = {}
        self._since: dict[Path, float] = {}
        self._held: dict[str, str] = {}
        self._changed = True
        self._beat_at = -RENEWAL
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin, if it has not yet."""
        if self._thread.ident is None:
            self._thread.start()

    def ailment(self) -> str | None:
        """What is wrong with it; None: nothing."""
        return None if self._thread.is_alive() else "nobody tells the catalog any more"

    def stop(self) -> None:
        """End in order; what was not told then, the leases tell."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(REDIS_TIMEOUT)
        try:
            self._catalog.roster.leave("workers", self._about["name"])
        except redis.RedisError as error:
            log.debug("the roster cannot be told", error=str(error))

    def drain(self) -> None:
        """No more captures are taken; those at work go on."""
        self._draining = True
        self._change()

    def tell(self, word: Word) -> None:
        """Have the catalog told; what was told before comes first."""
        self._words.append(word)
        self._wake.set()

    def began(self, task: Hashable, path: Path) -> None:
        """A capture is at work."""
        self._work[task] = path
        self._since[path] = time.monotonic()
        self._change()

    def ended(self, task: Hashable) -> None:
        """It is not any more."""
        path = self._work.pop(task, None)
        if path is not None:
            self._since.pop(path, None)
            self._change()

    def _change(self) -> None:
        self._changed = True
        self._wake.set()

    def holds(self, message: str, name: str) -> None:
        """A message was taken, about a file of this name in the queue."""
        self._held[message] = name

    def holds_no_more(self, message: str) -> None:
        """It is dealt with."""
        self._held.pop(message, None)

    def _live(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(PAUSE if self._changed else RENEWAL)
            self._wake.clear()
            try:
                while self._words:
                    self._words[0](self._catalog)
                    self._words.popleft()
                self._beat()
            except redis.RedisError as error:
                log.debug("told later", words=len(self._words), error=str(error))
                self._stop.wait(PAUSE)
                self._wake.set()

    def _beat(self) -> None:
        """Renew the leases, and say what is at work, not more often than needs be."""
        now = time.monotonic()
        if now - self._beat_at < PAUSE:
            return
        self._beat_at, self._changed = now, False
        self._catalog.captures.renew(list(self._work.values()))
        at_work = [
            {"path": self._catalog.shared(path), "seconds": round(now - since, 3)}
            for path, since in list(self._since.items())
        ]
        about = {"draining": self._draining, "at_work": at_work, "held": dict(self._held)}
        self._catalog.roster.tell("workers", self._about["name"], self._about | about)
