"""The watcher: events and looks at the disk in, captures out.

One thread decides; the observer's threads and the one that looks at the disk only put entries
into the inbox. Nothing here opens an HDF5 file, and nothing here depends on the broker to go on:
what cannot be put into the queue now is put there later.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import redis
import structlog

from vh5d.errors import BrokerError
from vh5d.hdf5.writers import WriterState, writers
from vh5d.policy import Config, Policy
from vh5d.service.catalog import CHANGE, MAX_WAIT, RESCAN, RETRY, Catalog
from vh5d.service.inbox import Batch, Change, Inbox, Kind
from vh5d.service.observer import DirectoryObserver, Root
from vh5d.service.rescan import look
from vh5d.service.settle import Settle, Timing
from vh5d.service.signals import StopRequests

#: Seconds: the longest the loop sleeps, and how long it lets a burst of events gather.
LONGEST_SLEEP = 0.5
GATHER = 0.02
#: Files dealt with in one round, so that a hundred thousand do not silence the loop.
AT_ONCE = 200
#: Seconds between two looks at the observer's health, the retry set, a broker that failed.
HEALTH_PAUSE = 1.0
RETRY_PAUSE = 0.5
BROKER_PAUSE = 1.0
#: Seconds between two searches for messages that a broker lost.
LOST_PAUSE = 10.0

Probe = Callable[[Iterable[Path]], Mapping[Path, WriterState]]

log = structlog.stdlib.get_logger(__name__)


class PutsCaptures(Protocol):
    """What the watcher needs of a queue."""

    def put(self, path: Path, policy: str, cause: str) -> bool:
        """Have `path` captured; BrokerError when that cannot be asked for now."""
        ...


@dataclass
class _Alarm:
    """Something to do every so often."""

    pause: float
    at: float

    def rings(self, now: float) -> bool:
        if now < self.at:
            return False
        self.at = now + self.pause
        return True


class Watcher:
    """Decides what is captured, and when.

    Parameters
    ----------
    config
        What to watch.
    catalog, queue
        Where to say so. Failures of theirs are waited out.
    probe
        Tells who writes which of some files.
    """

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        queue: PutsCaptures,
        *,
        probe: Probe = writers,
        polling: bool = False,
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._queue = queue
        self._probe = probe
        self._clock = time.monotonic
        self._settle: Settle[Path] = Settle()
        self._causes: dict[Path, str] = {}
        self._ready: dict[Path, str] = {}
        self._places: set[Path] = set()
        self._everywhere = True
        self._directories: int | None = None
        self._look: threading.Thread | None = None
        self._broker_failed_at = -BROKER_PAUSE
        now = self._clock()
        self._health = _Alarm(HEALTH_PAUSE, now + HEALTH_PAUSE)
        self._retry = _Alarm(RETRY_PAUSE, now)
        self._lost = _Alarm(LOST_PAUSE, now + LOST_PAUSE)
        self._rescan = _Alarm(config.rescan, now)
        self.inbox = Inbox(self._clock)
        self._observer = DirectoryObserver(
            _roots(config.policies), self.inbox, self._ignored, polling=polling
        )

    def run(self, stop: StopRequests) -> None:
        """Watch until asked to stop, which is noticed within `LONGEST_SLEEP` seconds."""
        self._observer.start()
        log.info("watching", roots=[str(root.path) for root in _roots(self._config.policies)])
        for path in self._observer.unwatched_roots():
            log.warning("not there, to be watched when it is", path=str(path))
        try:
            while not stop.is_set():
                self.step()
                self._sleep(stop)
        finally:
            self._observer.stop()

    def step(self) -> None:
        """One round of the loop."""
        now = self._clock()
        self._take_in(self.inbox.take())
        if self._health.rings(now):
            self._check_health()
        if self._rescan.rings(now):
            self._everywhere = True
        if now - self._broker_failed_at >= BROKER_PAUSE:
            self._with_broker(now)
        self._choose(self._clock())

    def _check_health(self) -> None:
        self._observer.check()
        directories, self._directories = self._directories, None
        if directories is not None:
            self._observer.audit(directories)
        # The supervisor takes silence for a thread that hangs.
        log.debug("alive", settling=len(self._settle), unsent=len(self._ready))

    def _sleep(self, stop: StopRequests) -> None:
        now = self._clock()
        pause = LONGEST_SLEEP
        due = self._settle.next_due()
        if due is not None:
            pause = min(pause, due - now)
        if self._ready:
            pause = min(pause, self._broker_failed_at + BROKER_PAUSE - now)
        if pause > 0 and not stop.is_set():
            self.inbox.wait(pause)
        time.sleep(GATHER)

    # In.

    def _take_in(self, batch: Batch) -> None:
        self._everywhere |= batch.everything
        self._places |= batch.directories
        settling = []
        # Renames first: what the old name waited for goes with the file.
        renames_first = sorted(batch.changes.items(), key=lambda each: each[1].moved_from is None)
        for path, change in renames_first:
            if change.kind is Kind.DELETED:
                self._gone(path)
                continue
            policy = self._config.policy_for(path)
            if policy is not None:
                self._changed(path, change, policy)
                settling.append((path, policy.name))
        if settling:
            self._tell_catalog(lambda: self._catalog.settling(settling))

    def _changed(self, path: Path, change: Change, policy: Policy) -> None:
        timing = Timing(policy.settle, policy.max_wait)
        if change.kind is Kind.FOUND:
            now = self._clock()
            quiet_since = now - max(0.0, time.time() - change.at)
            self._settle.found(path, now, quiet_since, timing)
            self._causes.setdefault(path, RESCAN)
            return
        self._causes[path] = CHANGE
        if change.moved_from is not None and change.moved_from != path:
            self._moved(change.moved_from, path, change.at, timing, policy)
        if change.kind is Kind.CLOSED:
            self._settle.closed(path, change.at, timing)
        else:
            self._settle.changed(path, change.at, timing)

    def _moved(self, source: Path, path: Path, at: float, timing: Timing, policy: Policy) -> None:
        self._settle.moved(source, path, at, timing)
        self._causes.pop(source, None)
        if self._config.policy_for(source) == policy:
            self._tell_catalog(lambda: self._catalog.moved(source, path, policy.name))

    def _gone(self, path: Path) -> None:
        self._settle.forget(path)
        self._causes.pop(path, None)
        self._ready.pop(path, None)
        if not os.path.lexists(path) and self._config.policy_for(path) is not None:
            self._tell_catalog(lambda: self._catalog.missing(path))

    def _ignored(self, path: str) -> bool:
        return "/.vh5d/" in path or path.endswith("/.vh5d")

    # Out.

    def _choose(self, now: float) -> None:
        due = [path for path in self._settle.due(now, AT_ONCE) if self._is_there(path)]
        if not due:
            return
        written = self._probe(due)
        for path in due:
            cause = self._causes.get(path, CHANGE)
            if path in written:
                if self._waits(path, now):
                    continue
                cause = MAX_WAIT
                log.warning("still being written", path=str(path), by=str(written[path]))
            self._settle.take(path)
            self._causes.pop(path, None)
            self._ready[path] = cause
        self._put_ready()

    def _waits(self, path: Path, now: float) -> bool:
        """Whether a file that is being written waits on; at the latest until its `max_wait`."""
        if self._settle.busy(path, now):
            return True
        policy = self._config.policy_for(path)
        if policy is not None and policy.while_open == "skip":
            self._settle.forget(path)  # its close, or a look at the disk, brings it back
            return True
        return False

    def _is_there(self, path: Path) -> bool:
        if path.exists():
            return True
        self._gone(path)
        return False

    def _put_ready(self) -> None:
        for path, cause in list(islice(self._ready.items(), AT_ONCE)):
            policy = self._config.policy_for(path)
            try:
                if policy is not None and not self._queue.put(path, policy.name, cause):
                    log.debug("in the queue already", path=str(path))
            except (BrokerError, redis.RedisError) as error:
                self._broker_failed(error)
                return
            del self._ready[path]

    # With the broker.

    def _with_broker(self, now: float) -> None:
        self._put_ready()
        try:
            if self._retry.rings(now):
                self._take_retries()
            if self._lost.rings(now) and (lost := self._catalog.recover_lost()):
                log.warning("the broker lost messages, asking again", files=lost)
        except redis.RedisError as error:
            self._broker_failed(error)
            return
        self._begin_look()

    def _take_retries(self) -> None:
        for name in self._catalog.retries():
            path = Path(name)
            policy = self._config.policy_for(path)
            if policy is None:
                continue
            if not self._is_there(path):
                self._catalog.missing(path)
            elif path not in self._settle and path not in self._ready:
                timing = Timing(policy.settle, policy.max_wait)
                self._settle.found(path, self._clock(), 0.0, timing)
                self._causes.setdefault(path, RETRY)

    def _begin_look(self) -> None:
        if not (self._everywhere or self._places) or (self._look and self._look.is_alive()):
            return
        places = None if self._everywhere else self._places
        self._everywhere, self._places = False, set()
        self._look = threading.Thread(
            target=self._look_at, args=(places,), name="rescan", daemon=True
        )
        self._look.start()

    def _look_at(self, places: Collection[Path] | None) -> None:
        """Runs in a thread of its own: a large tree takes seconds, a hung share for ever."""
        try:
            findings = look(self._catalog, self._config, places)
        except redis.RedisError as error:
            log.warning("look at the disk put off", error=str(error))
            time.sleep(BROKER_PAUSE)
            self._look_again(places)
            return
        self.inbox.found(findings.changed)
        for path in findings.gone:
            self.inbox.deleted(path)
        if places is None:
            self._directories = len(findings.directories)
            log.debug("looked at the disk", files=len(findings.files), new=len(findings.changed))

    def _look_again(self, places: Collection[Path] | None) -> None:
        if places is None:
            self.inbox.look_everywhere()
        for place in places or ():
            self.inbox.look_into(place)

    def _tell_catalog(self, tell: Callable[[], None]) -> None:
        """What the catalog says while the broker is away is mended by the next capture."""
        if self._clock() - self._broker_failed_at < BROKER_PAUSE:
            return
        try:
            tell()
        except redis.RedisError as error:
            self._broker_failed(error)

    def _broker_failed(self, error: Exception) -> None:
        log.warning("the broker does not answer, going on without it", error=str(error))
        self._broker_failed_at = self._clock()


def _roots(policies: Iterable[Policy]) -> list[Root]:
    """Each directory once, recursive if any policy wants it so."""
    recursive: dict[Path, bool] = {}
    for policy in policies:
        for watched in policy.watched:
            recursive[watched.path] = recursive.get(watched.path, False) or watched.recursive
    return [Root(path, wide) for path, wide in recursive.items()]
