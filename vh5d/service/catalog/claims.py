"""The one place that a file has in its queue: from a capture being asked for to its beginning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vh5d.service.catalog import queues
from vh5d.service.catalog.queues import QUEUE
from vh5d.service.catalog.records import Records
from vh5d.service.catalog.retries import Retries
from vh5d.service.catalog.source import State

#: Seconds before a capture that a worker did not know what to do with is asked for again.
REFUSED_PAUSE = 10.0


class Claims:
    """Places in the queues; every method may raise `redis.RedisError`.

    Parameters
    ----------
    records, retries
        Of the sources.
    """

    def __init__(self, records: Records, retries: Retries) -> None:
        self._records = records
        self._retries = retries
        self._client = records.client

    def capture_of(self, path: Path) -> str | None:
        """The id of the capture that was last asked for."""
        found: Any = self._client.hget(self._records.key(path), "capture")
        return str(json.loads(found)) if found and found != "null" else None

    def take(
        self,
        path: Path,
        policy: str,
        cause: str,
        capture: str | None = None,
        *,
        queue: str = QUEUE,
    ) -> bool:
        """Take the one place in the queue that a file has, for `capture`; False: it is taken."""
        name, now = self._records.shared(path), self._records.now()
        free = queues.claim(self._client, queue, name, now)
        if free:
            about = {"policy": policy, "queue": queue, "cause": cause, "capture": capture}
            pipeline = self._client.pipeline(transaction=False)
            self._records.put(pipeline, path, state=State.QUEUED, **about)
            self._retries.remove(pipeline, path)
            pipeline.execute()
        return free

    def give_back(self, path: Path) -> None:
        """The message could not be sent, or has arrived."""
        source = self._records.source(path)
        queue = source.queue if source else QUEUE
        self._client.zrem(queues.pending(queue), self._records.shared(path))

    def refused(self, path: Path) -> None:
        """A worker has no policy for it, of the name that the watcher had: it is asked for anew.

        One of them follows another configuration by now, or will in a moment.
        """
        source = self._records.source(path)
        self.give_back(path)
        if source is not None and source.state is State.QUEUED:
            self._retries.enter(self._client, path, self._records.now() + REFUSED_PAUSE)
