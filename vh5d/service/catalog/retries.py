"""Which captures are to be tried again, and when.

Key, below `vh5d:`::

    retry            sorted set of paths by the time their capture is to be tried again

It is also the lease of a running capture: a path is entered when an attempt begins, for some time
ahead, again and again while it lasts, and removed when it ends. Whoever dies in between is tried
again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import redis

from vh5d.service.catalog.records import BATCH, PREFIX, Records
from vh5d.service.catalog.source import State

#: Seconds before the second attempt, doubled for each that follows, and the longest.
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 300.0
#: Seconds that a capture at work is left alone without a word of its worker.
LEASE = 30.0

_KEY = PREFIX + "retry"


class Retries:
    """Captures that are to be tried again; every method may raise `redis.RedisError`.

    Parameters
    ----------
    records
        Of the sources.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._client = records.client

    def due(self, limit: int = BATCH, *, offset: int = 0) -> list[str]:
        """Paths whose capture is to be tried again by now, of all hosts, but the first `offset`."""
        now = str(self._records.now())
        found: Any = self._client.zrange(_KEY, "-inf", now, byscore=True, offset=offset, num=limit)
        return [self._records.local(str(path)) for path in found]

    def later(self, path: Path, delay: float) -> None:
        """Its file cannot be seen now."""
        self.enter(self._client, path, self._records.now() + delay, known=True)

    def soon(self, names: Iterable[str], *, unless_known: bool = False) -> None:
        """Have files captured again; `names` are what the queue calls them.

        Parameters
        ----------
        unless_known
            Leave those that are to be tried again as they are.
        """
        wanted = dict.fromkeys(names, self._records.now())
        if wanted:
            self._client.zadd(_KEY, wanted, nx=unless_known)

    def at_request(self, path: Path, policy: str) -> None:
        """Somebody asks for another attempt, as if none had failed."""
        pipeline = self._client.pipeline()
        asked = {"state": State.SETTLING, "attempts": 0, "busy": 0, "next_try": None}
        self._records.put(pipeline, path, **asked)
        self.enter(pipeline, path, self._records.now())
        self._records.tell_with(pipeline, path, "retry", policy=policy)
        pipeline.execute()

    def enter(
        self, client: redis.Redis, path: Path | str, at: float, *, known: bool = False
    ) -> None:
        """Try it again at that time.

        Parameters
        ----------
        client
            Of the broker, or a pipeline: in one step with what is the reason of it.
        known
            Only if it is to be tried again anyway.
        """
        client.zadd(_KEY, {self._records.shared(path): at}, xx=known)

    def remove(self, client: redis.Redis, path: Path | str) -> None:
        """There is no need to try it again; `client` as in `enter`."""
        client.zrem(_KEY, self._records.shared(path))
