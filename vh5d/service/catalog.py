"""What the service knows of every source, in Redis: a cache that can be rebuilt from the stores.

Keys, all below `vh5d:`::

    source:<path>    hash, a field of `Source` each, the values in JSON
    sources          sorted set of paths by the time of their last change of state
    retry            sorted set of paths by the time their capture is to be tried again
    events           capped stream of what happened

and what `queues`, `places`, `roster` and `statistics` keep there. A path is what the queue calls
it: a host that calls it otherwise has `PathMaps`.

The retry set is also the lease of a running capture: a path is entered when an attempt begins,
for some time ahead, again and again while it lasts, and removed when it ends. Whoever dies in
between is tried again.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import redis

from vh5d.policy.path_maps import PathMaps
from vh5d.service import departures, places, queues, statistics

# Whoever needs the catalog needs its client.
from vh5d.service.address import REDIS_TIMEOUT as REDIS_TIMEOUT  # noqa: PLC0414
from vh5d.service.address import connect as connect  # noqa: PLC0414
from vh5d.service.clock import BrokerClock
from vh5d.service.queues import QUEUE, UNACKED
from vh5d.service.roster import LOST_AFTER, Roster

PREFIX = "vh5d:"
#: Events that are remembered, at least: those of a night.
EVENTS_KEPT = 10_000
#: Seconds that the last word of a watcher is remembered.
ROOTS_KEPT = 3600
BATCH = 500
#: A worker that takes a message holds it unseen for a moment, in seconds: no longer than this.
UNSEEN = 5.0
#: Seconds before the second attempt, doubled for each that follows, and the longest.
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 300.0
#: The same after an attempt whose process died: most often not the file's fault.
DEATH_PAUSE = 0.5
#: Seconds before a capture that a worker did not know what to do with is asked for again.
REFUSED_PAUSE = 10.0
#: Longest that a capture may take, in seconds: its process is killed then.
LONGEST_CAPTURE = 6 * 3600
#: Seconds that a capture at work is left alone without a word of its worker.
LEASE = 30.0
#: Seconds that a message may be on its way, while a worker is at work on others.
LONGEST_WAY = 60.0

#: Why a capture is asked for: an event, a look at the disk, an earlier failure, a file that was
#: written for longer than its policy waits, one that grows.
CHANGE, RESCAN, RETRY, MAX_WAIT, SWMR = "change", "rescan", "retry", "max_wait", "swmr"


class State(StrEnum):
    """Where a source stands."""

    SETTLING = "settling"
    QUEUED = "queued"
    CAPTURING = "capturing"
    CURRENT = "current"
    GROWING = "growing"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    UNCLEAN = "unclean"
    TOO_LARGE = "too-large"
    QUOTA = "quota"
    EMPTIED = "emptied"
    MISSING = "missing"


@dataclass(frozen=True)
class FileStat:
    """What tells one state of a file from another without reading it."""

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileStat:
        """What stat(2) said."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev)


@dataclass(frozen=True)
class Source:
    """One source. Times are seconds since the epoch.

    `size`, `mtime_ns`, `inode` and `device` are those of the state that was last dealt with:
    captured, or given up; `root_inode` is that of the watched directory at that time. `capture` is
    the id of the capture that was asked for last; `settled_at` is when the state had come to rest
    that is being captured. `gone` is how the file went (`deleted`, `moved`, `emptied`), `gone_at`
    when, `moved_to` where to, if that is known. `follows` are the files that it leads to: path from
    its directory, size, time of modification.
    """

    path: str = ""
    policy: str = ""
    queue: str = QUEUE
    state: State = State.SETTLING
    store: str | None = None
    version: str | None = None
    kept_as: str | None = None
    error: str | None = None
    cause: str | None = None
    attempts: int = 0
    busy: int = 0
    next_try: float | None = None
    moved_from: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    inode: int | None = None
    device: int | None = None
    root_inode: int | None = None
    bytes_added: int | None = None
    seconds: float | None = None
    captured_at: float | None = None
    progress: float | None = None
    capture: str | None = None
    settled_at: float | None = None
    gone: str | None = None
    gone_at: float | None = None
    moved_to: str | None = None
    follows: list[tuple[str, int, int]] | None = None

    @property
    def stat(self) -> FileStat | None:
        """The state last dealt with."""
        if None in (self.size, self.mtime_ns, self.inode, self.device):
            return None
        return FileStat(self.size, self.mtime_ns, self.inode, self.device)  # type: ignore[arg-type]


_FIELDS = {field.name for field in fields(Source)}
#: Fields of sources and events that are paths.
_PATHS = frozenset({"store", "moved_from", "moved_to", "to"})


class Catalog:
    """Typed access to the catalog.

    Parameters
    ----------
    client
        From `connect`. Every method may raise `redis.RedisError`.
    clock
        Seconds since the epoch; the broker's own unless another is given.
    maps
        What this host calls otherwise than the others.
    """

    def __init__(
        self,
        client: redis.Redis,
        clock: Callable[[], float] | None = None,
        maps: PathMaps | None = None,
    ) -> None:
        self._redis = self.client = client
        self._clock = clock or BrokerClock(client)
        self._maps = maps or PathMaps()
        self.roster = Roster(client, self._clock)
        self._host = socket.gethostname()

    # What is there.

    def now(self) -> float:
        """What the clock says."""
        return self._clock()

    def paths(self) -> list[str]:
        """All sources, sorted."""
        paths: Any = self._redis.zrange(PREFIX + "sources", 0, -1)
        return sorted(self._maps.local(str(path)) for path in paths)

    def source(self, path: Path | str) -> Source | None:
        """One source, or None when it was never heard of."""
        return next(iter(self.sources([path])), None)

    def sources(self, paths: Iterable[Path | str] | None = None) -> Iterator[Source]:
        """These sources, as far as known, or all in the order of their names."""
        names = self.paths() if paths is None else [str(path) for path in paths]
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            pipeline = self._redis.pipeline(transaction=False)
            for name in batch:
                pipeline.hgetall(self._key(name))
            for name, values in zip(batch, pipeline.execute(), strict=True):
                if values:
                    yield self._parse(name, values)

    def events(self, after: str = "0", count: int = 100) -> list[tuple[str, dict[str, Any]]]:
        """Events after the one of this id, oldest first: id, content."""
        entries: Any = self._redis.xrange(PREFIX + "events", min=f"({after}", count=count)
        return [(entry, json.loads(values["event"])) for entry, values in entries]

    def queue(self) -> dict[str, int]:
        """Captures that wait, and captures that a worker has."""
        taken = self._redis.hlen(UNACKED)
        return {"waiting": sum(queues.waiting(self._redis).values()), "running": int(taken)}

    def queues(self) -> dict[str, dict[str, Any]]:
        """By queue, how many captures wait, and for how many seconds the oldest, if any waits."""
        now = self._clock()
        waited = {queue: max(0.0, now - at) for queue, at in queues.oldest(self._redis).items()}
        return {
            queue: {"waiting": waiting, "oldest_waiting": waited.get(queue)}
            for queue, waiting in queues.waiting(self._redis).items()
        }

    def retries(self, limit: int = BATCH, *, offset: int = 0) -> list[str]:
        """Paths whose capture is to be tried again by now, of all hosts, but the first `offset`."""
        found: Any = self._redis.zrange(
            PREFIX + "retry", "-inf", str(self._clock()), byscore=True, offset=offset, num=limit
        )
        return [self._maps.local(str(path)) for path in found]

    def retry_later(self, path: Path, delay: float) -> None:
        """Its file cannot be seen now."""
        name = self.shared(path)
        self._redis.zadd(PREFIX + "retry", {name: self._clock() + delay}, xx=True)

    def retry_soon(self, name: str) -> None:
        """Have a file captured again; `name` is what the queue calls it."""
        self._redis.zadd(PREFIX + "retry", {name: self._clock()})

    def retry_now(self, path: Path, policy: str) -> None:
        """Somebody asks for another attempt, as if none had failed."""
        pipeline = self._redis.pipeline()
        self._put(pipeline, path, state=State.SETTLING, attempts=0, busy=0, next_try=None)
        pipeline.zadd(PREFIX + "retry", {self.shared(path): self._clock()})
        self._tell(pipeline, path, "retry", policy=policy)
        pipeline.execute()

    def roots(self) -> list[dict[str, Any]]:
        """What watchers last said of their roots; `at`: when."""
        found: list[dict[str, Any]] = []
        for key in self._redis.scan_iter(match=PREFIX + "roots:*", count=BATCH):
            said: Any = self._redis.get(key)
            found += json.loads(said) if said else []
        return found

    # What the watcher says.

    def tell_roots(self, watcher: str, roots: list[dict[str, Any]]) -> None:
        """How well `watcher` sees its roots."""
        told = json.dumps([{**root, "at": self._clock()} for root in roots])
        self._redis.set(f"{PREFIX}roots:{watcher}", told, ex=ROOTS_KEPT)

    def forget_roots(self, watcher: str) -> None:
        """`watcher` ends in order."""
        self._redis.delete(f"{PREFIX}roots:{watcher}")

    def is_new(self) -> bool:
        """Whether nobody asked this before: the broker begins with nothing, or lost all it had."""
        return bool(self._redis.set(PREFIX + "known", 1, nx=True))

    def settling(self, paths: Iterable[tuple[Path, str]]) -> None:
        """These files changed: path and name of the policy."""
        pipeline = self._redis.pipeline(transaction=False)
        for path, policy in paths:
            self._put(pipeline, path, policy=policy, state=State.SETTLING)
        pipeline.execute()

    def capture_of(self, path: Path) -> str | None:
        """The id of the capture that was last asked for."""
        found: Any = self._redis.hget(self._key(path), "capture")
        return str(json.loads(found)) if found and found != "null" else None

    def claim(
        self,
        path: Path,
        policy: str,
        cause: str,
        capture: str | None = None,
        *,
        queue: str = QUEUE,
    ) -> bool:
        """Take the one place in the queue that a file has, for `capture`; False: it is taken."""
        free = queues.claim(self._redis, queue, self.shared(path), self._clock())
        if free:
            about = {"policy": policy, "queue": queue, "cause": cause, "capture": capture}
            pipeline = self._redis.pipeline(transaction=False)
            self._put(pipeline, path, state=State.QUEUED, **about)
            pipeline.zrem(PREFIX + "retry", self.shared(path))
            pipeline.execute()
        return free

    def unclaim(self, path: Path) -> None:
        """Give the place back: the message could not be sent, or has arrived."""
        source = self.source(path)
        self._redis.zrem(queues.pending(source.queue if source else QUEUE), self.shared(path))

    def refused(self, path: Path) -> None:
        """A worker has no policy for it, of the name that the watcher had: it is asked for anew.

        One of them follows another configuration by now, or will in a moment.
        """
        source = self.source(path)
        self.unclaim(path)
        if source is not None and source.state is State.QUEUED:
            again = {self.shared(path): self._clock() + REFUSED_PAUSE}
            self._redis.zadd(PREFIX + "retry", again)

    def moved(self, source: Path, target: Path, policy: str) -> None:
        """A file has another name; its next capture takes its history along."""
        before = self.source(source)
        origin = before.moved_from if before and before.moved_from else str(source)
        pipeline = self._redis.pipeline()
        self._put(pipeline, target, policy=policy, state=State.SETTLING, moved_from=origin)
        if before is not None:
            self._put(pipeline, source, next_try=None, **self._stone("moved", to=target))
        pipeline.zrem(PREFIX + "retry", self.shared(source))
        self._tell(pipeline, source, "renamed", policy=policy, to=str(target))
        pipeline.execute()

    def missing(self, path: Path, deleted: Callable[[Source], bool] = lambda _before: True) -> None:
        """The file is gone; a file never heard of stays so.

        Parameters
        ----------
        deleted
            Has the last word, knowing what was known of it.
        """
        before = self.source(path)
        if before is None or before.state is State.MISSING:
            self._redis.zrem(PREFIX + "retry", self.shared(path))
            return
        if not deleted(before):
            return
        pipeline = self._redis.pipeline()
        gone = {"error": None, "next_try": None, "attempts": 0, "settled_at": None}
        # Of a file that is known to have another name, no more is to be told.
        stone = {"state": State.MISSING} if before.gone == "moved" else self._stone("deleted")
        self._put(pipeline, path, **gone, **stone)
        pipeline.zrem(PREFIX + "retry", self.shared(path))
        self._tell(pipeline, path, "missing", policy=before.policy)
        pipeline.execute()

    def name_of(self, stat: FileStat) -> Path | None:
        """The name under which a file in this state was captured last."""
        name = departures.find(self._redis, stat)
        return None if name is None else Path(self._maps.local(name))

    def went(self, source: Path, target: Path) -> None:
        """A file that is gone is found to have another name."""
        pipeline = self._redis.pipeline()
        self._put(pipeline, source, **self._stone("moved", to=target))
        self._tell(pipeline, source, "renamed", to=str(target))
        pipeline.execute()

    def _stone(self, gone: str, to: Path | None = None) -> dict[str, Any]:
        return {
            "state": State.MISSING,
            "moved_from": None,
            "gone": gone,
            "gone_at": self._clock(),
            "moved_to": None if to is None else str(to),
        }

    # What a capture says.

    def started(self, path: Path, policy: str) -> Source:
        """An attempt begins; what was known before it."""
        before = self.source(path) or Source(path=str(path))
        pending, name = queues.pending(before.queue), self.shared(path)
        asked: Any = self._redis.zscore(pending, name)
        before = replace(before, policy=policy, settled_at=before.settled_at or asked)
        until = self._clock() + LEASE
        pipeline = self._redis.pipeline()
        pipeline.zrem(pending, name)
        self._put(
            pipeline,
            path,
            policy=policy,
            state=State.CAPTURING,
            next_try=None,
            settled_at=before.settled_at,
            progress=None,
        )
        # Added, not set: two captures of a restless file may be at work at the same time.
        pipeline.hincrby(self._key(path), "attempts", 1)
        pipeline.zadd(PREFIX + "retry", {name: until})
        pipeline.execute()
        return before

    def progress(self, path: Path, percent: float) -> None:
        """An attempt that takes long is so far."""
        self._redis.hset(self._key(path), "progress", json.dumps(percent))

    def take_place(self, path: Path, policy: str, most: int) -> bool:
        """Be one of the `most` captures of a policy at a time; False: another time, be called.

        A call may be lost with its caller, so it is tried again in any case, if not soon.
        """
        name, now = self.shared(path), self._clock()
        before = self.source(path) or Source()
        asked: Any = self._redis.zscore(queues.pending(before.queue), name)
        since = float(before.settled_at or asked or now)
        if places.take(self._redis, policy, name, now, since=since, lease=LEASE, most=most):
            return True
        self.unclaim(path)
        pipeline = self._redis.pipeline(transaction=False)
        self._put(pipeline, path, state=State.SETTLING, policy=policy, settled_at=since)
        pipeline.zadd(PREFIX + "retry", {name: now + LEASE})
        pipeline.execute()
        return False

    def leave_place(self, path: Path, policy: str, most: int = 1) -> None:
        """Let others have the place."""
        called = places.leave(self._redis, policy, self.shared(path), most)
        if called:
            self._redis.zadd(PREFIX + "retry", dict.fromkeys(called, self._clock()))

    def renew(self, paths: Iterable[Path]) -> None:
        """These captures are at work."""
        until = self._clock() + LEASE
        for path in paths:
            source = self.source(path)
            if source is not None and source.state is State.CAPTURING:
                pipeline = self._redis.pipeline(transaction=False)
                pipeline.zadd(PREFIX + "retry", {self.shared(path): until}, xx=True)
                places.renew(pipeline, source.policy, self.shared(path), until)
                pipeline.execute()

    def acknowledge(self, message: str) -> None:
        """A message was dealt with, which could not be told when it was (see kombu's `QoS`)."""
        pipeline = self._redis.pipeline()
        pipeline.zrem(f"{UNACKED}_index", message)
        pipeline.hdel(UNACKED, message)
        pipeline.execute()

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
        pipeline = self._redis.pipeline()
        self._put(
            pipeline,
            path,
            state=state,
            attempts=0,
            busy=0,
            next_try=None,
            moved_from=None,
            settled_at=None,
            captured_at=self._clock(),
            gone=None,
            gone_at=None,
            moved_to=None,
            **asdict(stat),
            **known,
        )
        departures.note(pipeline, stat, self.shared(path), before.stat if before else None)
        pipeline.zrem(PREFIX + "retry", self.shared(path))
        about = self._end(
            pipeline,
            before,
            "version" if changed else "unchanged",
            seconds=known.get("seconds"),
            source_bytes=stat.size,
            stored_bytes=known.get("bytes_added"),
        )
        told = {"state": state, "changed": changed, "size": stat.size, **about, **known}
        self._tell(pipeline, path, "captured", **told)
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
        next_try = self._clock() + delay
        left = -1 if attempts is None else attempts
        if attempts is None:
            left = int(self._redis.hincrby(self._key(path), "attempts", -1))
        counted = {} if attempts is None and left >= 0 else {"attempts": max(0, left)}
        pipeline = self._redis.pipeline()
        self._put(pipeline, path, state=state, error=error, busy=busy, next_try=next_try, **counted)
        pipeline.zadd(PREFIX + "retry", {self.shared(path): next_try})
        outcome: statistics.Outcome = "postponed" if state is State.SETTLING else "failed"
        about = self._end(pipeline, before, outcome)
        told = {"error": error, "next_try": next_try, "attempts": max(0, left), **about}
        self._tell(pipeline, path, str(state), **told)
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
        pipeline = self._redis.pipeline()
        self._put(
            pipeline,
            path,
            state=state,
            error=error,
            attempts=0,
            busy=0,
            next_try=None,
            settled_at=None,
            gone="emptied" if state is State.EMPTIED else None,
            gone_at=self._clock() if state is State.EMPTIED else None,
            **(asdict(stat) | {"root_inode": root_inode} if stat else {}),
        )
        pipeline.zrem(PREFIX + "retry", self.shared(path))
        about = self._end(pipeline, before, "failed")
        self._tell(pipeline, path, str(state), error=error, next_try=None, **about)
        pipeline.execute()

    def cut_short(self, path: Path, error: str, *, blame: bool = True) -> None:
        """An attempt ended without a word: try again soon.

        Parameters
        ----------
        blame
            Its process died, perhaps of the file; else the broker was away.
        """
        source = self.source(path)
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

    def restart_queue(self) -> None:
        """Forget all messages and ask again for what they asked; only while no worker lives."""
        again = [self.shared(s.path) for s in self.sources() if s.state is State.CAPTURING]
        again += queues.forget(self._redis)
        if again:
            self._redis.zadd(PREFIX + "retry", dict.fromkeys(again, self._clock()))
        self.roster.clear("workers")

    def recover_lost(self) -> int:
        """Try again what waits in a queue that has nothing in it: its messages were lost.

        Taking a message and noting that it was taken are two commands (Redis transport of
        kombu); a crash between them loses it, and so does a broker that forgot. What a worker
        has taken may be of a worker that died: that is not believed for ever.
        """
        now = self._clock()
        lost = queues.lost(self._redis, now, LONGEST_WAY, UNSEEN)
        if lost:
            self._redis.zadd(PREFIX + "retry", dict.fromkeys(lost, now))
        return len(lost)

    def recover_from_dead(self) -> list[str]:
        """Try again what workers had taken that were lost; who they were."""
        lost = self.roster.bury("workers")
        if not lost:
            return []
        there = [each for each in self.roster.members("workers") if not each["lost"]]
        held = {message for worker in there for message in worker["held"]}
        # What it took in its last moment, it told nobody.
        before = self._clock() - LOST_AFTER
        messages = queues.orphans(self._redis, held, before)
        for worker in lost:
            messages |= worker["held"]
        hosts = ", ".join(sorted({str(worker["host"]) for worker in lost}))
        for message, name in messages.items():
            path = Path(self._maps.local(name))
            self.acknowledge(message)
            self.unclaim(path)
            self.cut_short(path, f"its worker was lost, on {hosts}")
            self._redis.zadd(PREFIX + "retry", {name: self._clock()}, nx=True)
        return [str(worker["name"]) for worker in lost]

    def local(self, name: str) -> str:
        """What this host calls a path that the queue names."""
        return self._maps.local(name)

    def shared(self, path: Path | str) -> str:
        """What the queue calls a path of this host."""
        return self._maps.shared(str(path))

    def _put(self, pipeline: redis.client.Pipeline, path: Path | str, **values: Any) -> None:
        for name in _PATHS & values.keys():
            values[name] = values[name] and self.shared(values[name])
        mapping: Any = {
            name: json.dumps(value) for name, value in values.items() if name in _FIELDS
        }
        pipeline.hset(self._key(path), mapping=mapping)
        pipeline.zadd(PREFIX + "sources", {self.shared(path): self._clock()})

    def _key(self, path: Path | str) -> str:
        return f"{PREFIX}source:{self.shared(path)}"

    def _parse(self, path: str, values: dict[str, str]) -> Source:
        known = {name: json.loads(value) for name, value in values.items() if name in _FIELDS}
        known |= {name: self._maps.local(known[name]) for name in _PATHS if known.get(name)}
        known["state"] = State(known.get("state", State.SETTLING))
        return Source(**{**known, "path": path})

    def tell(self, event: str, path: Path | None = None, **values: Any) -> None:
        """Something happened that no capture tells of."""
        pipeline = self._redis.pipeline()
        self._tell(pipeline, path, event, **values)
        pipeline.execute()

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
        now, settled_at = self._clock(), before.settled_at
        statistics.count(pipeline, now, before.policy, outcome, settled_at=settled_at, **figures)
        return {"policy": before.policy, "capture": before.capture}

    def _tell(
        self, pipeline: redis.client.Pipeline, path: Path | str | None, event: str, **values: Any
    ) -> None:
        where = self.shared(path) if path is not None else None
        about = {"path": where, "event": event, "at": self._clock(), "host": self._host}
        values |= {name: self.shared(values[name]) for name in _PATHS if values.get(name)}
        content = json.dumps({**about, **values})
        pipeline.xadd(PREFIX + "events", {"event": content}, maxlen=EVENTS_KEPT, approximate=True)
