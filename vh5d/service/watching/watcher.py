"""The watcher: events and looks at the disk in, captures out.

One thread decides; the observer's threads and the one that looks at the disk only put entries
into the inbox. Nothing here opens an HDF5 file, and nothing here depends on the broker to go on:
what cannot be put into the queue now is put there later.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Protocol

import redis
import structlog

from vh5d.errors import BrokerError
from vh5d.hdf5.writers import writers
from vh5d.policy import Config, Policy
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.queues import Priority
from vh5d.service.catalog.records import BATCH
from vh5d.service.catalog.roster import identity
from vh5d.service.running.pulse import LifeSigns, Pulse
from vh5d.service.running.signals import StopRequests
from vh5d.service.watching.alarm import Alarm
from vh5d.service.watching.canary import Habits
from vh5d.service.watching.candidates import AT_ONCE, Candidates, Probe
from vh5d.service.watching.contact import Contact
from vh5d.service.watching.inbox import Batch, Inbox, Kind
from vh5d.service.watching.looks import Looks
from vh5d.service.watching.observer import HABITS, DirectoryObserver
from vh5d.service.watching.presence import is_absent, was_deleted
from vh5d.service.watching.roots import roots_of
from vh5d.service.watching.sight import RootHealth, Sight

#: Seconds: the longest the loop sleeps, and how long it lets a burst of events gather.
LONGEST_SLEEP = 0.5
GATHER = 0.02
#: Seconds between two looks at the observer's health, the retry set.
HEALTH_PAUSE = 1.0
RETRY_PAUSE = 0.5
#: The part of the time that looks at places that events do not tell everything of may take.
OFTEN_SHARE = 0.2
#: Seconds between two words on roots to the catalog.
TELL_PAUSE = 5.0
#: Seconds before a file of a root that is not there is asked for again.
ABSENT_PAUSE = 30.0
#: Captures to be tried again that are looked through at a time, in units of `BATCH`.
RETRY_PAGES = 10
#: Seconds between two searches for messages that a broker lost.
LOST_PAUSE = 10.0

log = structlog.stdlib.get_logger(__name__)


class PutsCaptures(Protocol):
    """What the watcher needs of a queue."""

    def put(self, path: Path, policy: str, cause: str, *, queue: str, priority: Priority) -> bool:
        """Have `path` captured; BrokerError when that cannot be asked for now."""
        ...


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
        self._clock = time.monotonic
        self._contact = Contact(catalog, self._clock)
        self._candidates = Candidates(config, self._contact, probe, self._clock)
        self._known = False
        self._about = identity()
        self._health: dict[Path, RootHealth] = {}
        self._hung: list[Path] = []
        now = self._clock()
        self._check = Alarm(HEALTH_PAUSE, now)
        often = min(policy.poll_interval for policy in config.policies)
        self._often = Alarm(often, now + often)
        self._tell = Alarm(TELL_PAUSE, now)
        self._retry = Alarm(RETRY_PAUSE, now)
        self._lost = Alarm(LOST_PAUSE, now + LOST_PAUSE)
        self._rescan = Alarm(config.rescan, now)
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
        if now >= self._contact.next_try:
            self._with_broker(now)
        if self._candidates.choose(self._clock(), self._is_there):
            self._put_ready()

    def _check_health(self) -> None:
        self._observer.check()
        directories = self._looks.take_directories()
        if directories is not None:
            self._observer.audit(directories)
        self._hung = self._observer.hung()
        self._heed_health()
        # The supervisor takes silence for a thread that hangs.
        ailment = self._observer.ailment()
        settling, unsent = len(self._candidates), len(self._candidates.ready)
        log.debug("alive", settling=settling, unsent=unsent, ailment=ailment)

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
        due = self._candidates.next_due()
        if due is not None:
            pause = min(pause, due - now)
        if self._candidates.ready:
            pause = min(pause, self._contact.next_try - now)
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
                self._candidates.changed(path, change, policy)
                settling.append((path, policy.name))
        if settling:
            self._contact.tell(lambda catalog: catalog.sightings.settling(settling))

    def _gone(self, path: Path) -> None:
        self._candidates.forget(path)
        if self._hangs(path):
            return
        policy = self._config.policy_for(path)
        root = policy.root_of(path) if policy is not None and is_absent(path) else None
        if root is None:
            return
        watched = self._observer.identity(root)
        self._contact.tell(
            lambda catalog: catalog.sightings.missing(
                path, lambda before: was_deleted(path, root, before, watched=watched)
            )
        )

    def _ignored(self, path: str) -> bool:
        return "/.vh5d/" in path or path.endswith("/.vh5d")

    # Out.

    def _is_there(self, path: Path) -> bool:
        if self._hangs(path):
            self._candidates.put_off(path)  # a look finds it when its root answers
            return False
        if not is_absent(path):
            return True
        self._gone(path)
        return False

    def _hangs(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._hung)

    def _put_ready(self) -> None:
        for path, cause in list(islice(self._candidates.ready.items(), AT_ONCE)):
            policy = self._config.policy_for(path)
            try:
                if policy is not None and not self._ask(path, policy, cause):
                    log.debug("in the queue already", path=str(path))
            except (BrokerError, redis.RedisError) as error:
                self._contact.failed(error)
                return
            del self._candidates.ready[path]

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
            self._contact.failed(error)
            return
        if self._contact.has_failed_since(now):
            return
        if self._contact.answered():
            # What could not be told meanwhile, a look at everything finds.
            self._lost.at = self._clock()
            self._looks.want_everything()
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
        about = {"roots": [str(path) for path in self._health], "settling": len(self._candidates)}
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
        else:
            self._candidates.tried_again(path, policy)
        return True
