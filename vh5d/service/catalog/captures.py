"""What captures say of themselves: an attempt begins, goes on, ends well or badly, or is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import redis

from vh5d.service.catalog import departures, places, queues, statistics
from vh5d.service.catalog.claims import Claims
from vh5d.service.catalog.records import Records
from vh5d.service.catalog.retries import LEASE, LONGEST_PAUSE, Retries
from vh5d.service.catalog.source import FileStat, Source, State

#: Seconds before the attempt after one whose process died, most often not the file's fault;
#: doubled for each that follows.
DEATH_PAUSE = 0.5


class Captures:
    """Told by workers; every method may raise `redis.RedisError`.

    Parameters
    ----------
    records, retries, claims
        Of the sources.
    """

    def __init__(self, records: Records, retries: Retries, claims: Claims) -> None:
        self._records = records
        self._retries = retries
        self._claims = claims
        self._client = records.client

    # At work.

    def started(self, path: Path, policy: str) -> Source:
        """An attempt begins; what was known before it."""
        before = self._records.source(path) or Source(path=str(path))
        pending, name = queues.pending(before.queue), self._records.shared(path)
        asked: Any = self._client.zscore(pending, name)
        before = replace(before, policy=policy, settled_at=before.settled_at or asked)
        until = self._records.now() + LEASE
        pipeline = self._client.pipeline()
        pipeline.zrem(pending, name)
        self._records.put(
            pipeline,
            path,
            policy=policy,
            state=State.CAPTURING,
            next_try=None,
            settled_at=before.settled_at,
            progress=None,
        )
        # Added, not set: two captures of a restless file may be at work at the same time.
        pipeline.hincrby(self._records.key(path), "attempts", 1)
        self._retries.enter(pipeline, path, until)
        pipeline.execute()
        return before

    def progress(self, path: Path, percent: float) -> None:
        """An attempt that takes long is so far."""
        self._client.hset(self._records.key(path), "progress", json.dumps(percent))

    def renew(self, paths: Iterable[Path]) -> None:
        """These captures are at work."""
        until = self._records.now() + LEASE
        for path in paths:
            source = self._records.source(path)
            if source is not None and source.state is State.CAPTURING:
                pipeline = self._client.pipeline(transaction=False)
                self._retries.enter(pipeline, path, until, known=True)
                places.renew(pipeline, source.policy, self._records.shared(path), until)
                pipeline.execute()

    def take_place(self, path: Path, policy: str, most: int) -> bool:
        """Be one of the `most` captures of a policy at a time; False: another time, be called.

        A call may be lost with its caller, so it is tried again in any case, if not soon.
        """
        name, now = self._records.shared(path), self._records.now()
        before = self._records.source(path) or Source()
        asked: Any = self._client.zscore(queues.pending(before.queue), name)
        since = float(before.settled_at or asked or now)
        if places.take(self._client, policy, name, now, since=since, lease=LEASE, most=most):
            return True
        self._claims.give_back(path)
        pipeline = self._client.pipeline(transaction=False)
        self._records.put(pipeline, path, state=State.SETTLING, policy=policy, settled_at=since)
        self._retries.enter(pipeline, path, now + LEASE)
        pipeline.execute()
        return False

    def leave_place(self, path: Path, policy: str, most: int = 1) -> None:
        """Let others have the place."""
        called = places.leave(self._client, policy, self._records.shared(path), most)
        self._retries.soon(called)

    # At its end.

    def captured(
        self,
        path: Path,
        stat: FileStat,
        *,
        state: State,
        before: Source | None = None,
        changed: bool = False,
        **known: Any,
    ) -> None:
        """The state of the file that `stat` tells of is kept.

        Parameters
        ----------
        before
            What `started` said.
        changed
            Whether that made a version.
        """
        known.setdefault("error", None)
        pipeline = self._client.pipeline()
        self._records.put(
            pipeline,
            path,
            state=state,
            attempts=0,
            busy=0,
            next_try=None,
            moved_from=None,
            settled_at=None,
            captured_at=self._records.now(),
            gone=None,
            gone_at=None,
            moved_to=None,
            **asdict(stat),
            **known,
        )
        departures.note(pipeline, stat, self._records.shared(path), before.stat if before else None)
        self._retries.remove(pipeline, path)
        about = self._end(
            pipeline,
            before,
            "version" if changed else "unchanged",
            seconds=known.get("seconds"),
            source_bytes=stat.size,
            stored_bytes=known.get("bytes_added"),
        )
        told = {"state": state, "changed": changed, "size": stat.size, **about, **known}
        self._records.tell_with(pipeline, path, "captured", **told)
        pipeline.execute()

    def postponed(
        self,
        path: Path,
        delay: float,
        error: str,
        *,
        state: State,
        attempts: int | None,
        busy: int,
        before: Source | None = None,
    ) -> None:
        """An attempt failed; the next one is `delay` seconds away.

        Parameters
        ----------
        attempts
            How many count now; None: as many as without this one.
        """
        next_try = self._records.now() + delay
        left = -1 if attempts is None else attempts
        if attempts is None:
            left = int(self._client.hincrby(self._records.key(path), "attempts", -1))
        counted = {} if attempts is None and left >= 0 else {"attempts": max(0, left)}
        pipeline = self._client.pipeline()
        self._records.put(
            pipeline, path, state=state, error=error, busy=busy, next_try=next_try, **counted
        )
        self._retries.enter(pipeline, path, next_try)
        outcome: statistics.Outcome = "postponed" if state is State.SETTLING else "failed"
        about = self._end(pipeline, before, outcome)
        told = {"error": error, "next_try": next_try, "attempts": max(0, left), **about}
        self._records.tell_with(pipeline, path, str(state), **told)
        pipeline.execute()

    def given_up(
        self,
        path: Path,
        stat: FileStat | None,
        error: str,
        *,
        state: State,
        root_inode: int | None = None,
        before: Source | None = None,
    ) -> None:
        """No further attempt until the file changes."""
        pipeline = self._client.pipeline()
        self._records.put(
            pipeline,
            path,
            state=state,
            error=error,
            attempts=0,
            busy=0,
            next_try=None,
            settled_at=None,
            gone="emptied" if state is State.EMPTIED else None,
            gone_at=self._records.now() if state is State.EMPTIED else None,
            **(asdict(stat) | {"root_inode": root_inode} if stat else {}),
        )
        self._retries.remove(pipeline, path)
        about = self._end(pipeline, before, "failed")
        self._records.tell_with(pipeline, path, str(state), error=error, next_try=None, **about)
        pipeline.execute()

    def cut_short(self, path: Path, error: str, *, blame: bool = True) -> None:
        """An attempt ended without a word: try again soon.

        Parameters
        ----------
        blame
            Its process died, perhaps of the file; else the broker was away.
        """
        source = self._records.source(path)
        if source is not None:
            self.leave_place(path, source.policy)
        if source is not None and source.state is State.CAPTURING:
            attempts = source.attempts if blame else max(0, source.attempts - 1)
            pause = DEATH_PAUSE * 2 ** min(max(0, attempts - 1), 8)
            self.postponed(
                path,
                min(pause, LONGEST_PAUSE),
                error,
                state=State.FAILED,
                attempts=attempts,
                busy=source.busy,
                before=source,
            )

    def _end(
        self,
        pipeline: redis.client.Pipeline,
        before: Source | None,
        outcome: statistics.Outcome,
        **figures: Any,
    ) -> dict[str, Any]:
        """Count an attempt that ended; what its event says of it."""
        if before is None or not before.policy:
            return {}
        now, settled_at = self._records.now(), before.settled_at
        statistics.count(pipeline, now, before.policy, outcome, settled_at=settled_at, **figures)
        return {"policy": before.policy, "capture": before.capture}
