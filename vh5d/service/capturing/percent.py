"""How far a capture is, told to the catalog while it lasts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import redis
import structlog

from vh5d.service.catalog.catalog import Catalog

#: Seconds before the first word, and between two.
PATIENCE = 2.0
PAUSE = 1.0

log = structlog.stdlib.get_logger(__name__)


class Percent:
    """Is called with bytes done and in all, and tells the catalog, not too often.

    Parameters
    ----------
    catalog
        Whom to tell. A broker that is away is no reason to end a capture: it hears no more of it.
    path
        The source.
    clock
        Seconds that do not go back.
    """

    def __init__(
        self, catalog: Catalog, path: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._catalog, self._path, self._clock = catalog, path, clock
        self._next: float | None = clock() + PATIENCE

    def __call__(self, done: int, total: int) -> None:
        """Note progress."""
        if self._next is None or self._clock() < self._next:
            return
        try:
            self._catalog.captures.progress(self._path, round(100 * done / max(total, 1), 1))
        except redis.RedisError as error:
            log.debug("not told", error=str(error))
            self._next = None
            return
        self._next = self._clock() + PAUSE
