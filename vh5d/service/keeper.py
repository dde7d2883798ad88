"""What a worker owes the catalog: told again and again until it is heard.

While the broker is away a capture may end, or its process die. Nobody would try it again for as
long as its lease says, were that not told in the end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from pathlib import Path

import redis
import structlog

from vh5d.service.catalog import LEASE, REDIS_TIMEOUT, Catalog

Word = Callable[[Catalog], None]

#: Seconds between two attempts to tell, and between two renewals of leases.
PAUSE = 1.0
RENEWAL = LEASE / 4

log = structlog.stdlib.get_logger(__name__)


class Keeper:
    """Tells the catalog in a thread of its own, and renews the leases of captures at work.

    Parameters
    ----------
    catalog
        Whom to tell.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._words: deque[Word] = deque()
        self._work: dict[Hashable, Path] = {}
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ailment(self) -> str | None:
        """What is wrong with it; None: nothing."""
        return None if self._thread.is_alive() else "nobody tells the catalog any more"

    def stop(self) -> None:
        """End; what was not told then, the leases tell."""
        self._stop.set()
        self._wake.set()
        self._thread.join(REDIS_TIMEOUT)

    def tell(self, word: Word) -> None:
        """Have the catalog told; what was told before comes first."""
        self._words.append(word)
        self._wake.set()

    def began(self, task: Hashable, path: Path) -> None:
        """A capture is at work."""
        self._work[task] = path

    def ended(self, task: Hashable) -> None:
        """It is not any more."""
        self._work.pop(task, None)

    def _live(self) -> None:
        while not self._stop.is_set():
            heard = self._wake.wait(RENEWAL)
            self._wake.clear()
            try:
                while self._words:
                    self._words[0](self._catalog)
                    self._words.popleft()
                if not heard:
                    self._catalog.renew(list(self._work.values()))
            except redis.RedisError as error:
                log.debug("told later", words=len(self._words), error=str(error))
                self._stop.wait(PAUSE)
                self._wake.set()
