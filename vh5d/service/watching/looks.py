"""Looks at the disk, one after another, in a thread: a hung share takes for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import redis
import structlog

from vh5d.policy import Config
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.watching.inbox import Inbox
from vh5d.service.watching.rescan import all_watched, look

#: Seconds before a look that failed for the broker's sake is tried again.
BROKER_PAUSE = 1.0
#: Seconds after which a look counts as hung, if a root does not answer.
HUNG_AFTER = 30.0

log = structlog.stdlib.get_logger(__name__)


class Looks:
    """What is to be looked at, and the look that is going on.

    Parameters
    ----------
    catalog, config
        What to compare the disk with.
    inbox
        Where findings go.
    clock
        Seconds that do not go back.
    """

    def __init__(
        self, catalog: Catalog, config: Config, inbox: Inbox, clock: Callable[[], float]
    ) -> None:
        self._catalog = catalog
        self._config = config
        self._inbox = inbox
        self._clock = clock
        self._watched = all_watched(config)
        self._everywhere = True
        self._places: set[Path] = set()
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._rest_until = 0.0
        self._directories: dict[Path, int] | None = None
        self._closed: set[Path] = set()
        self.seconds = 0.0

    def want(self, places: Collection[Path]) -> None:
        """Look into these directories."""
        self._places.update(places)

    def want_everything(self) -> None:
        """Look everywhere."""
        self._everywhere = True

    def take_directories(self) -> dict[Path, int] | None:
        """All directories that there are, with their inodes; once after each look everywhere."""
        found, self._directories = self._directories, None
        return found

    def begin(self, hung: Collection[Path]) -> None:
        """Begin a look if one is wanted and none goes on.

        It takes at most half of the time: events that overflow without end must not keep the
        disk busy without end.

        Parameters
        ----------
        hung
            Roots that do not answer: they are left out.
        """
        now = self._clock()
        if not (self._everywhere or self._places) or now < self._rest_until:
            return
        if self._thread is not None and self._thread.is_alive():
            if not hung or now - self._began < HUNG_AFTER:
                return
            log.error("a look at the disk hangs, beginning another", roots=list(map(str, hung)))
        places = None if self._everywhere else self._places
        self._everywhere, self._places = False, set()
        self._began = now
        self._thread = threading.Thread(
            target=self._look, args=(places, tuple(hung)), name="rescan", daemon=True
        )
        self._thread.start()

    def _look(self, places: Collection[Path] | None, hung: Collection[Path]) -> None:
        began = self._clock()
        try:
            findings = look(
                self._catalog, self._config, places, without=hung, watched=self._watched
            )
        except redis.RedisError as error:
            log.debug("look at the disk put off", error=str(error))
            time.sleep(BROKER_PAUSE)
            self._again(places)
            return
        self._inbox.found(findings.changed)
        for path in findings.gone:
            self._inbox.deleted(path)
        ended = self._clock()
        self.seconds = ended - began
        self._rest_until = ended + self.seconds
        if places is None:
            for path in sorted(findings.closed - self._closed):
                log.warning("may not be read: files in it are not seen", path=str(path))
            self._closed = findings.closed
            self._directories = findings.directories
            log.debug("looked at the disk", files=len(findings.files), new=len(findings.changed))

    def _again(self, places: Collection[Path] | None) -> None:
        if places is None:
            self._inbox.look_everywhere()
        for place in places or ():
            self._inbox.look_into(place)
