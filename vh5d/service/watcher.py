"""The watcher: events and looks at the disk in, captures out.

One thread decides; the observer's threads and the one that looks at the disk only put entries
into the inbox. Nothing here opens an HDF5 file, and nothing here depends on the broker to go on:
what cannot be put into the queue now is put there later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import redis
import structlog

from vh5d.errors import BrokerError
from vh5d.hdf5.writers import WriterState, writers
from vh5d.policy import Config, Policy
from vh5d.service.canary import Habits
from vh5d.service.catalog import Catalog
from vh5d.service.growing import Growing, after_death, is_shared
from vh5d.service.inbox import Batch, Change, Inbox, Kind
from vh5d.service.looks import Looks
from vh5d.service.observer import HABITS, DirectoryObserver
from vh5d.service.presence import is_absent, was_deleted
from vh5d.service.pulse import LifeSigns, Pulse
from vh5d.service.queues import Priority
from vh5d.service.records import BATCH
from vh5d.service.roots import roots_of
from vh5d.service.roster import identity
from vh5d.service.settle import Settle, Timing
from vh5d.service.sight import RootHealth, Sight
from vh5d.service.signals import StopRequests
from vh5d.service.source import CHANGE, MAX_WAIT, RESCAN, RETRY, SWMR

#: Seconds: the longest the loop sleeps, and how long it lets a burst of events gather.
LONGEST_SLEEP = 0.5
GATHER = 0.02
#: Files dealt with in one round, so that a hundred thousand do not silence the loop.
AT_ONCE = 200
#: Seconds between two looks at the observer's health, the retry set, a broker that failed.
HEALTH_PAUSE = 1.0
#: The part of the time that looks at places that events do not tell everything of may take.
OFTEN_SHARE = 0.2
#: Seconds between two words on roots to the catalog, on a broker that is away to the log.
TELL_PAUSE = 5.0
SAY_PAUSE = 60.0
#: Seconds before a file of a root that is not there is asked for again.
ABSENT_PAUSE = 30.0
RETRY_PAUSE = 0.5
#: Captures to be tried again that are looked through at a time, in units of `BATCH`.
RETRY_PAGES = 10
BROKER_PAUSE = 1.0
#: Seconds between two searches for messages that a broker lost.
LOST_PAUSE = 10.0

Probe = Callable[[Iterable[Path]], Mapping[Path, WriterState]]

log = structlog.stdlib.get_logger(__name__)


class PutsCaptures(Protocol):
    """What the watcher needs of a queue."""

    def put(self, path: Path, policy: str, cause: str, *, queue: str, priority: Priority) -> bool:
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
        habits: Habits = HABITS,
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._queue = queue
        self._probe = probe
        self._clock = time.monotonic
        self._settle: Settle[Path] = Settle()
        self._growing: Growing[Path] = Growing()
        self._causes: dict[Path, str] = {}
        self._ready: dict[Path, str] = {}
        self._broker_failed_at = -BROKER_PAUSE
        self._broker_away_since: float | None = None
        self._known = False
        self._about = identity()
        self._health: dict[Path, RootHealth] = {}
        self._hung: list[Path] = []
        now = self._clock()
        self._check = _Alarm(HEALTH_PAUSE, now)
        often = min(policy.poll_interval for policy in config.policies)
        self._often = _Alarm(often, now + often)
        self._tell = _Alarm(TELL_PAUSE, now)
        self._say = _Alarm(SAY_PAUSE, now)
        self._retry = _Alarm(RETRY_PAUSE, now)
        self._lost = _Alarm(LOST_PAUSE, now + LOST_PAUSE)
        self._rescan = _Alarm(config.rescan, now)
        self.inbox = Inbox(self._clock)
        self._pulse = Pulse(clock=self._clock)
        self._looks = Looks(catalog, config, self.inbox, self._clock)
        self._observer = DirectoryObserver(
            roots_of(config.policies), self.inbox, self._ignored, polling=polling, habits=habits
        )

    def run(self, stop: StopRequests, signs: LifeSigns | None = None) -> None:
        """Watch until asked to stop, which is noticed within `LONGEST_SLEEP` seconds.

        Parameters
        ----------
        signs
            To be told when it watches, and when it ends.
        """
        self._observer.start()
        log.info("watching", roots=[str(root.path) for root in roots_of(self._config.policies)])
        for path in self._observer.unwatched_roots():
            log.warning("not there, to be watched when it is", path=str(path))
        self._pulse.beat()
        if signs is not None:
            signs.begin(
                "watching " + ", ".join(str(root.path) for root in roots_of(self._config.policies))
            )
        try:
            while not stop.is_set():
                self.step()
                self._sleep(stop)
        finally:
            if signs is not None:
                signs.stopping(for_good=stop.count > 0)
            self._observer.stop()
            self._leave()

    def ailment(self) -> str | None:
        """What is wrong, and might be cured by starting anew; None: nothing. From any thread."""
        return self._pulse.ailment() or self._observer.ailment()

    def step(self) -> None:
        """One round of the loop."""
        self._pulse.beat()
        now = self._clock()
        self._take_in(self.inbox.take())
        if self._check.rings(now):
            self._check_health()
        if self._rescan.rings(now):
            self._looks.want_everything()
        if self._often.rings(now):
            self._looks.want(self._observer.due(now))
            self._often.at = now + max(self._often.pause, self._looks.seconds / OFTEN_SHARE)
        if now - self._broker_failed_at >= BROKER_PAUSE:
            self._with_broker(now)
        self._choose(self._clock())

    def _check_health(self) -> None:
        self._observer.check()
        directories = self._looks.take_directories()
        if directories is not None:
            self._observer.audit(directories)
        self._hung = self._observer.hung()
        self._heed_health()
        # The supervisor takes silence for a thread that hangs.
        ailment = self._observer.ailment()
        log.debug("alive", settling=len(self._settle), unsent=len(self._ready), ailment=ailment)

    def _heed_health(self) -> None:
        """Say how well the roots are seen, and look into those that are seen again."""
        for health in self._observer.health():
            before = self._health.get(health.path)
            if before == health:
                continue
            self._health[health.path] = health
            self._tell.at = self._clock()
            said = {"path": str(health.path), "sight": str(health.sight)}
            if health.sight in {Sight.GONE, Sight.BLIND}:
                log.error("is not seen", **said, error=health.reason)
            elif health.sight is Sight.POLLING:
                log.warning("is looked at often", **said, reason=health.reason)
            elif before is not None:
                log.info("is seen again", **said)
            if before is not None and before.sight in {Sight.GONE, Sight.BLIND}:
                self._looks.want([health.path])

    def _sleep(self, stop: StopRequests) -> None:
        now = self._clock()
        pause = LONGEST_SLEEP
        for due in (self._settle.next_due(), self._growing.next_due()):
            if due is not None:
                pause = min(pause, due - now)
        if self._ready:
            pause = min(pause, self._broker_failed_at + BROKER_PAUSE - now)
        if pause > 0 and not stop.is_set():
            self.inbox.wait(pause)
        time.sleep(GATHER)

    # In.

    def _take_in(self, batch: Batch) -> None:
        if batch.everything:
            self._looks.want_everything()
        self._looks.want(batch.directories)
        settling = []
        # Renames first: what the old name waited for goes with the file.
        renames_first = sorted(batch.changes.items(), key=lambda each: each[1].moved_from is None)
        for path, change in renames_first:
            if change.kind is Kind.DELETED:
                self._gone(path)
                continue
            if self._hangs(path):
                continue  # a look finds it when its root answers
            policy = self._config.policy_for(path)
            if policy is not None:
                self._changed(path, change, policy)
                settling.append((path, policy.name))
        if settling:
            self._tell_catalog(lambda: self._catalog.sightings.settling(settling))

    def _changed(self, path: Path, change: Change, policy: Policy) -> None:
        timing = Timing(policy.settle, policy.max_wait)
        if policy.while_open == "swmr":
            self._growing.changed(path, self._clock(), policy.swmr_interval)
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
        self._growing.forget(source)
        self._causes.pop(source, None)
        if self._config.policy_for(source) is not None:
            self._tell_catalog(lambda: self._catalog.sightings.moved(source, path, policy.name))

    def _gone(self, path: Path) -> None:
        self._settle.forget(path)
        self._growing.forget(path)
        self._causes.pop(path, None)
        self._ready.pop(path, None)
        if self._hangs(path):
            return
        policy = self._config.policy_for(path)
        root = policy.root_of(path) if policy is not None and is_absent(path) else None
        if root is None:
            return
        watched = self._observer.identity(root)
        self._tell_catalog(
            lambda: self._catalog.sightings.missing(
                path, lambda before: was_deleted(path, root, before, watched=watched)
            )
        )

    def _ignored(self, path: str) -> bool:
        return "/.vh5d/" in path or path.endswith("/.vh5d")

    # Out.

    def _choose(self, now: float) -> None:
        due = [path for path in self._settle.due(now, AT_ONCE) if self._is_there(path)]
        looked = [path for path in self._growing.take(now, AT_ONCE) if self._is_there(path)]
        if not due and not looked:
            return
        written = self._probe([*due, *looked])
        for path in looked:
            self._look_at(path, written.get(path), now)
        for path in due:
            if path not in self._settle:
                continue
            cause = self._causes.get(path, CHANGE)
            writer = written.get(path)
            if writer is not None and self._waits(path, writer, now):
                continue
            if writer is not None and writer.process is not None:
                cause = MAX_WAIT
                log.warning("still being written", path=str(path), by=str(writer))
            self._settle.take(path)
            self._growing.forget(path)
            self._causes.pop(path, None)
            self._ready[path] = cause
        self._put_ready()

    def _waits(self, path: Path, writer: WriterState, now: float) -> bool:
        """Whether a file that is being written waits on; at the latest until its `max_wait`."""
        policy = self._config.policy_for(path)
        seen = writer.process is not None or path in self._growing
        if policy is not None and seen and is_shared(writer, policy):
            self._leave_growing(path, policy, now)
            return True
        if writer.process is None:
            return self._settle.unclean(path, now)
        if self._settle.busy(path, now):
            return True
        if policy is not None and policy.while_open == "skip":
            self._settle.forget(path)  # its close, or a look at the disk, brings it back
            return True
        return False

    def _look_at(self, path: Path, writer: WriterState | None, now: float) -> None:
        """Have a file captured if it grows; if not, it waits until it is at rest."""
        policy = self._config.policy_for(path)
        if policy is None or writer is None or not is_shared(writer, policy):
            return
        self._settle.forget(path)
        self._causes.pop(path, None)
        self._ready[path] = SWMR
        if writer.process is None:
            # Somebody whom we cannot see, or nobody any more.
            self._settle.found(path, now, now, after_death(policy))

    def _leave_growing(self, path: Path, policy: Policy, now: float) -> None:
        """Leave a file that grows to the next look at it; its close brings it back."""
        self._growing.changed(path, now, policy.swmr_interval)
        self._settle.forget(path)
        if self._causes.pop(path, None) == RETRY:
            self._tell_catalog(lambda: self._catalog.retries.later(path, policy.swmr_interval))

    def _is_there(self, path: Path) -> bool:
        if self._hangs(path):
            self._settle.forget(path)  # a look finds it when its root answers
            return False
        if not is_absent(path):
            return True
        self._gone(path)
        return False

    def _hangs(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._hung)

    def _put_ready(self) -> None:
        for path, cause in list(islice(self._ready.items(), AT_ONCE)):
            policy = self._config.policy_for(path)
            try:
                if policy is not None and not self._ask(path, policy, cause):
                    log.debug("in the queue already", path=str(path))
            except (BrokerError, redis.RedisError) as error:
                self._broker_failed(error)
                return
            del self._ready[path]

    def _ask(self, path: Path, policy: Policy, cause: str) -> bool:
        return self._queue.put(
            path, policy.name, cause, queue=policy.queue, priority=policy.priority
        )

    # With the broker.

    def _with_broker(self, now: float) -> None:
        self._put_ready()
        try:
            if self._retry.rings(now):
                self._take_retries()
            if self._lost.rings(now):
                self._find_lost()
            if self._tell.rings(now):
                self._tell_roots()
        except redis.RedisError as error:
            self._broker_failed(error)
            return
        if self._broker_failed_at >= now:
            return
        self._broker_answers()
        self._looks.begin(self._hung)

    def _find_lost(self) -> None:
        """Ask again for what the broker lost."""
        if self._catalog.recovery.broker_is_new() and self._known:
            log.warning("the broker lost everything, looking at everything")
            self._looks.want_everything()
        self._known = True
        dead = self._catalog.recovery.of_workers()
        if dead:
            log.warning("workers were lost, asking again for what they had", workers=dead)
        lost = self._catalog.recovery.of_messages()
        if lost:
            log.warning("the broker lost messages, asking again", files=lost)

    def _tell_roots(self) -> None:
        host = self._about["host"]
        told = [
            {
                "path": str(health.path),
                "health": str(health.sight),
                "reason": health.reason,
                "host": host,
            }
            for health in self._health.values()
        ]
        self._catalog.sightings.tell_roots(self._about["name"], told)
        about = {"roots": [str(path) for path in self._health], "settling": len(self._settle)}
        self._catalog.roster.tell("watchers", self._about["name"], self._about | about)

    def _leave(self) -> None:
        try:
            self._catalog.sightings.forget_roots(self._about["name"])
            self._catalog.roster.leave("watchers", self._about["name"])
        except redis.RedisError as error:
            log.debug("the roster cannot be told", error=str(error))

    def _take_retries(self) -> None:
        for page in range(RETRY_PAGES):
            names = self._catalog.retries.due(BATCH, offset=page * BATCH)
            # Those of directories that another host watches, which may be down, are left to it.
            mine = [self._take_retry(Path(name)) for name in names]
            if any(mine) or len(names) < BATCH:
                return

    def _take_retry(self, path: Path) -> bool:
        policy = None if self._hangs(path) else self._config.policy_for(path)
        if policy is None:
            return False
        if not self._is_there(path):
            self._catalog.retries.later(path, ABSENT_PAUSE)
        elif path not in self._settle and path not in self._ready:
            timing = Timing(policy.settle, policy.max_wait)
            self._settle.found(path, self._clock(), 0.0, timing)
            self._causes.setdefault(path, RETRY)
        return True

    def _tell_catalog(self, tell: Callable[[], None]) -> None:
        """What the catalog says while the broker is away is mended by the next capture."""
        if self._clock() - self._broker_failed_at < BROKER_PAUSE:
            return
        try:
            tell()
        except redis.RedisError as error:
            self._broker_failed(error)

    def _broker_failed(self, error: Exception) -> None:
        now = self._broker_failed_at = self._clock()
        if self._broker_away_since is None:
            self._broker_away_since = self._say.at = now
        if self._say.rings(now):
            log.error(
                "the broker does not answer, going on without it",
                error=str(error),
                seconds=round(now - self._broker_away_since),
            )

    def _broker_answers(self) -> None:
        """What could not be told meanwhile, a look at everything finds."""
        if self._broker_away_since is None:
            return
        seconds = self._clock() - self._broker_away_since
        log.warning("the broker answers again, looking at everything", seconds=round(seconds))
        self._broker_away_since = None
        self._lost.at = self._clock()
        self._looks.want_everything()
