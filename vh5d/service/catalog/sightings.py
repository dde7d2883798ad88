"""What is seen of the files: that they changed, are gone, or have another name; and how well.

Key, below `vh5d:`::

    roots:<watcher>  what a watcher last said of its roots, JSON
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vh5d.service.catalog import departures
from vh5d.service.catalog.records import BATCH, PREFIX, Records
from vh5d.service.catalog.retries import Retries
from vh5d.service.catalog.source import FileStat, Source, State

#: Seconds that the last word of a watcher is remembered.
ROOTS_KEPT = 3600


class Sightings:
    """Told by those who look at the disk; every method may raise `redis.RedisError`.

    Parameters
    ----------
    records, retries
        Of the sources.
    """

    def __init__(self, records: Records, retries: Retries) -> None:
        self._records = records
        self._retries = retries
        self._client = records.client

    # Of files.

    def settling(self, paths: Iterable[tuple[Path, str]]) -> None:
        """These files changed: path and name of the policy."""
        pipeline = self._client.pipeline(transaction=False)
        for path, policy in paths:
            self._records.put(pipeline, path, policy=policy, state=State.SETTLING)
        pipeline.execute()

    def moved(self, source: Path, target: Path, policy: str) -> None:
        """A file has another name; its next capture takes its history along."""
        before = self._records.source(source)
        origin = before.moved_from if before and before.moved_from else str(source)
        pipeline = self._client.pipeline()
        there = {"policy": policy, "state": State.SETTLING, "moved_from": origin}
        self._records.put(pipeline, target, **there)
        if before is not None:
            stone = self._stone("moved", to=target)
            self._records.put(pipeline, source, next_try=None, **stone)
        self._retries.remove(pipeline, source)
        self._records.tell_with(pipeline, source, "renamed", policy=policy, to=str(target))
        pipeline.execute()

    def missing(self, path: Path, deleted: Callable[[Source], bool] = lambda _before: True) -> None:
        """The file is gone; a file never heard of stays so.

        Parameters
        ----------
        deleted
            Has the last word, knowing what was known of it.
        """
        before = self._records.source(path)
        if before is None or before.state is State.MISSING:
            self._retries.remove(self._client, path)
            return
        if not deleted(before):
            return
        pipeline = self._client.pipeline()
        gone = {"error": None, "next_try": None, "attempts": 0, "settled_at": None}
        # Of a file that is known to have another name, no more is to be told.
        stone = {"state": State.MISSING} if before.gone == "moved" else self._stone("deleted")
        self._records.put(pipeline, path, **gone, **stone)
        self._retries.remove(pipeline, path)
        self._records.tell_with(pipeline, path, "missing", policy=before.policy)
        pipeline.execute()

    def name_of(self, stat: FileStat) -> Path | None:
        """The name under which a file in this state was captured last."""
        name = departures.find(self._client, stat)
        return None if name is None else Path(self._records.local(name))

    def went(self, source: Path, target: Path) -> None:
        """A file that is gone is found to have another name."""
        pipeline = self._client.pipeline()
        self._records.put(pipeline, source, **self._stone("moved", to=target))
        self._records.tell_with(pipeline, source, "renamed", to=str(target))
        pipeline.execute()

    def _stone(self, gone: str, to: Path | None = None) -> dict[str, Any]:
        return {
            "state": State.MISSING,
            "moved_from": None,
            "gone": gone,
            "gone_at": self._records.now(),
            "moved_to": None if to is None else str(to),
        }

    # Of roots.

    def roots(self) -> list[dict[str, Any]]:
        """What watchers last said of their roots; `at`: when."""
        found: list[dict[str, Any]] = []
        for key in self._client.scan_iter(match=PREFIX + "roots:*", count=BATCH):
            said: Any = self._client.get(key)
            found += json.loads(said) if said else []
        return found

    def tell_roots(self, watcher: str, roots: list[dict[str, Any]]) -> None:
        """How well `watcher` sees its roots."""
        told = json.dumps([{**root, "at": self._records.now()} for root in roots])
        self._client.set(f"{PREFIX}roots:{watcher}", told, ex=ROOTS_KEPT)

    def forget_roots(self, watcher: str) -> None:
        """`watcher` ends in order."""
        self._client.delete(f"{PREFIX}roots:{watcher}")
