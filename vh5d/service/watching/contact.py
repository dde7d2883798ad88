"""Whether the broker answers the watcher, which goes on without it."""

from __future__ import annotations

from collections.abc import Callable

import redis
import structlog

from vh5d.service.catalog.catalog import Catalog
from vh5d.service.watching.alarm import Alarm

#: Seconds before a broker that failed is asked again.
BROKER_PAUSE = 1.0
#: Seconds between two words on a broker that is away to the log.
SAY_PAUSE = 60.0

log = structlog.stdlib.get_logger(__name__)


class Contact:
    """Tells the catalog what can be told now, and knows since when nothing can.

    Parameters
    ----------
    catalog
        Whom to tell.
    clock
        Seconds that do not go back.
    """

    def __init__(self, catalog: Catalog, clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._clock = clock
        self._failed_at = -BROKER_PAUSE
        self._away_since: float | None = None
        self._say = Alarm(SAY_PAUSE, clock())

    @property
    def next_try(self) -> float:
        """When the broker is to be asked again; a time that is over if it did not fail."""
        return self._failed_at + BROKER_PAUSE

    def has_failed_since(self, moment: float) -> bool:
        """Whether the broker failed at that moment or later."""
        return self._failed_at >= moment

    def tell(self, word: Callable[[Catalog], None]) -> None:
        """Say it, unless the broker is away: the next capture mends what was not said."""
        if self._clock() < self.next_try:
            return
        try:
            word(self._catalog)
        except redis.RedisError as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """The broker did not answer."""
        now = self._failed_at = self._clock()
        if self._away_since is None:
            self._away_since = self._say.at = now
        if self._say.rings(now):
            log.error(
                "the broker does not answer, going on without it",
                error=str(error),
                seconds=round(now - self._away_since),
            )

    def answered(self) -> bool:
        """The broker answered; whether it had not before."""
        if self._away_since is None:
            return False
        seconds = self._clock() - self._away_since
        log.warning("the broker answers again, looking at everything", seconds=round(seconds))
        self._away_since = None
        return True
