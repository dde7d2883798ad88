"""`vh5d up`: broker, worker and watcher, each a process, kept alive and ended in order.

The watcher is a process like the others, not a thread: a share that hangs takes it along but
leaves the service able to say so and to stop, and `up` runs the very roles that `vh5d watch` and
`vh5d worker` run on many machines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import redis
import structlog

from vh5d.capture.home import make_nest, refuse_links
from vh5d.errors import ServiceError, VH5DError
from vh5d.policy import Config, Reading
from vh5d.policy.patience import ask
from vh5d.policy.units import format_duration
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.running import logs
from vh5d.service.running.broker import Broker
from vh5d.service.running.children import Child, Roles, arguments_for
from vh5d.service.running.notify import Notifier
from vh5d.service.running.reload import ConfigFile, what_needs_a_start
from vh5d.service.running.signals import StopRequests
from vh5d.service.running.state import Description, Held, describe, directory_for, hold, root_lock
from vh5d.service.running.surroundings import HERE, Surroundings
from vh5d.service.telling.live import Introduction, Overview, View
from vh5d.service.telling.notices import Notices
from vh5d.service.telling.survey import survey
from vh5d.service.watching.canary import NEST

TICK = 0.1
#: Seconds for each child to end when asked to: a capture may be at work.
STOP_TIMEOUT = 60.0
#: Seconds without a sign of life after which the watcher is started again.
WATCHER_SILENT = 60.0
#: Seconds without an answer of a private broker after which the service is not well.
BROKER_SILENT = 60.0
#: Counting the catalog takes at most this part of the time.
OVERVIEW_SHARE = 0.05

_ROOT_HINT = "give this user the right to write there, or name another `store` in --config"

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Plan:
    """What `vh5d up` was told.

    Parameters
    ----------
    config
        Settings.
    reading, directories
        Where they came from: what the children are told.
    state
        The state directory, if one was chosen.
    """

    config: Config
    reading: Reading | None
    directories: Sequence[Path]
    state: Path | None = None
    stop_timeout: float = STOP_TIMEOUT
    surroundings: Surroundings = HERE

    @property
    def roots(self) -> list[Path]:
        """Watched directories."""
        return list(dict.fromkeys(root for policy in self.config.policies for root in policy.roots))

    @property
    def config_file(self) -> Path | None:
        """The configuration file, if there is one."""
        return self.reading.path if self.reading is not None else None

    @property
    def state_directory(self) -> Path:
        """Where the service keeps what it needs to run."""
        chosen = self.state or self.config.state or directory_for(self.roots[0])
        return chosen.absolute()

    def lock_of(self, root: Path) -> Path:
        """The lock that keeps other services from a watched directory."""
        inside = any(
            root in policy.roots and policy.store.startswith("{root}/.vh5d/")
            for policy in self.config.policies
        )
        return root_lock(root, beside_stores=inside)

    def introduction(self) -> Introduction:
        """For people."""
        policies = self.config.policies
        stores = dict.fromkeys(
            policy.store.replace("{root}", str(root))
            for policy in policies
            for root in policy.roots
        )
        return Introduction(
            watched=tuple(str(root) for root in self.roots),
            stores=tuple(stores),
            state=self.state_directory,
            settle=" or ".join(dict.fromkeys(format_duration(each.settle) for each in policies)),
        )


class Supervisor:
    """Runs a plan until it is asked to stop.

    Parameters
    ----------
    plan
        What to run.
    view
        Where to show what happens.
    stop
        Requests to stop: the first for an orderly end, the second for a quick one.
    """

    def __init__(self, plan: Plan, view: View, stop: StopRequests) -> None:
        self._plan = plan
        self._view = view
        self._stop = stop
        self._notifier = Notifier()
        self._records: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._heard = time.monotonic()
        self._answered = time.monotonic()
        self._ailment: str | None = None
        self._overview_at = 0.0
        self._sign_of_life_at = 0.0
        self._started = time.time()
        self._locks: dict[Path, Held] = {}
        state = self._state = plan.state_directory
        self._broker = Broker(state / "broker") if plan.config.broker == "embedded" else None
        self._url = self._broker.url if self._broker else plan.config.broker
        self._catalog = Catalog(connect(self._url), maps=plan.config.names)
        arguments = arguments_for(plan.config_file, plan.directories)
        program = plan.surroundings.program
        roles = self._roles = Roles(self._url, arguments, self._records, program)
        self._file: ConfigFile | None = None
        if plan.reading is not None:
            roles.follow(plan.reading)
            notices = Notices(connect(self._url))
            self._file = ConfigFile(plan.reading, notices, lambda: stop.reloads, self._notifier)
        self._worker = Child("worker", lambda: roles.start("worker"), self._clear_queue)
        self._watcher = Child("watcher", lambda: roles.start("watch"))
        self._children = [self._worker, self._watcher]
        if self._broker is not None:
            self._children.insert(0, Child("broker", self._broker.start))

    def run(self) -> None:
        """Run until asked to stop.

        Raises
        ------
        AlreadyRunningError
            Another service has the state directory or a watched directory.
        BrokerError
            The broker does not start.
        """
        logs.configure(self._log, "json")
        with ExitStack() as held:
            self._take_locks(held)
            self._view.start(self._plan.introduction())
            held.callback(self._view.stop)
            try:
                self._start()
                while not self._stop.is_set():
                    self._tick()
            finally:
                self._end()

    def _take_locks(self, held: ExitStack) -> None:
        state = self._state
        held.callback(hold(state / "lock", f"the state directory {state} is in use").release)
        held.callback(self._release_roots, ())
        self._locks.update(self._lock_roots(self._plan))
        self._describe()

    def _lock_roots(self, plan: Plan) -> dict[Path, Held]:
        """Take the locks of watched directories that are not held yet; all of them, or none."""
        taken: dict[Path, Held] = {}
        try:
            for root in plan.roots:
                if root in self._locks or not ask(root.is_dir, otherwise=False):
                    continue
                lock = plan.lock_of(root)
                if lock.is_relative_to(root):
                    refuse_links(lock, root)
                    _make_nest(root)
                taken[root] = hold(lock, f"{root} is watched already", hint=_ROOT_HINT)
        except VH5DError:
            for held in taken.values():
                held.release()
            raise
        return taken

    def _release_roots(self, still_wanted: Collection[Path]) -> None:
        for root in set(self._locks).difference(still_wanted):
            self._locks.pop(root).release()

    def _describe(self) -> None:
        describe(
            self._state,
            Description(
                pid=os.getpid(),
                broker=self._url,
                watch=[str(root) for root in self._plan.roots],
                config=str(self._plan.config_file) if self._plan.config_file else None,
                started=self._started,
                settings=_without_secrets(self._plan.config),
            ),
        )

    def _start(self) -> None:
        if self._file is not None:
            self._file.start()
        if self._plan.config.metrics is not None:
            from vh5d.service.telling import metrics

            catalog = Catalog(connect(self._url))
            metrics.begin(self._plan.config.metrics, catalog, lambda: self._plan.config)
        for child in self._children:
            child.start()
        self._heard = time.monotonic()

    def _tick(self) -> None:
        try:
            self._show(self._records.get(timeout=TICK))
            while True:
                self._show(self._records.get_nowait())
        except Empty:
            pass
        self._heed_configuration()
        for child in self._children:
            try:
                child.tend()
            except ServiceError as error:
                log.warning("cannot be started", child=child.name, error=str(error))
        now = time.monotonic()
        if now - self._heard > WATCHER_SILENT and self._watcher.alive:
            log.error("the watcher does not answer, ending it")
            self._watcher.kill()
            self._heard = now
        if now >= self._overview_at:
            self._look_at_catalog(now)
        interval = self._notifier.watchdog_interval
        if interval is not None and self._is_well(now) and now - self._sign_of_life_at >= interval:
            self._notifier.alive()
            self._sign_of_life_at = now

    def _is_well(self, now: float) -> bool:
        """Whether every process is there and does what it should, as far as it says."""
        answers = self._broker is None or now - self._answered < BROKER_SILENT
        return answers and self._ailment is None and all(child.alive for child in self._children)

    def _heed_configuration(self) -> None:
        found = self._file.take() if self._file is not None else None
        if self._file is None or found is None or found.config is None:
            return
        plan = replace(self._plan, config=found.config, reading=found, state=self._state)
        reason = what_needs_a_start(self._plan.config, found.config)
        taken: dict[Path, Held] = {}
        try:
            taken = self._lock_roots(plan) if reason is None else {}
        except VH5DError as error:
            reason = str(error)
        if reason is not None:
            self._file.refuse(reason)
            return
        self._locks.update(taken)
        self._release_roots(plan.roots)
        self._plan = plan
        self._roles.follow(found)
        self._file.accept(found)
        self._describe()
        names = [policy.name for policy in found.config.policies]
        log.info("new configuration", file=str(found.path), policies=names)
        self._view.start(plan.introduction())
        # The worker finishes what it does; the watcher, which begins with a look at everything, is
        # soon back. What either had in hand is in the catalog, or found by that look.
        for child in (self._watcher, self._worker):
            child.renew()
        self._heard = time.monotonic()

    def _show(self, record: dict[str, Any]) -> None:
        if record.get("process") == "watch":
            self._heard = time.monotonic()
            if record["event"] == "alive":
                self._ailment = record.get("ailment")
        if record["event"] == "watching":
            self._notifier.ready(self._plan.introduction().lines()[0])
        elif record.get("level") != "debug":
            self._view.record(record)

    def _look_at_catalog(self, now: float) -> None:
        try:
            queue = self._catalog.queue()
            states = dict(survey(self._catalog.client).states)
        except redis.RedisError:
            self._overview_at = now + 1.0
            return
        self._answered = time.monotonic()
        self._view.overview(Overview(states, queue["waiting"], queue["running"]))
        self._overview_at = now + max(1.0, (time.monotonic() - now) / OVERVIEW_SHARE)

    def _clear_queue(self) -> bool:
        """Ask anew for what a worker that is dead had taken; True: done, another may start.

        Its messages would wait for the visibility timeout: hours.
        """
        if self._watcher.renewing:
            return False  # it may still ask by the names of policies that are gone
        if self._broker is None:
            return True
        try:
            self._catalog.recovery.restart_queue()
        except redis.RedisError as error:
            log.debug("the queue cannot be cleared yet", error=str(error))
            return False
        return True

    def _end(self) -> None:
        """The worker finishes what it does; the broker goes last."""
        self._notifier.stopping()
        if self._file is not None:
            self._file.stop()
        log.info("stopping; a second Ctrl-C does not wait for captures")
        deadline = time.monotonic() + self._plan.stop_timeout
        roles = [child for child in self._children if child in {self._worker, self._watcher}]
        self._end_children(roles, deadline)
        self._end_children([child for child in self._children if child not in roles], deadline)
        if self._broker is not None:
            self._broker.forget()
        self._drain()
        log.info("stopped")
        self._drain()

    def _end_children(self, children: list[Child], deadline: float) -> None:
        for child in children:
            child.ask_to_end()
        while any(child.alive for child in children) and self._stop.count <= 1:
            if time.monotonic() > deadline:
                slow = [child.name for child in children if child.alive]
                log.warning("takes too long, ending it", child=", ".join(slow))
                break
            self._drain()
        for child in children:
            child.kill()

    def _drain(self) -> None:
        try:
            while True:
                self._show(self._records.get(timeout=TICK / 2))
        except Empty:
            pass

    def _log(self, line: str) -> None:
        self._records.put(logs.parse(line, "up"))


def _without_secrets(config: Config) -> dict[str, Any]:
    policies = {"__all__": {"notify": True, "hooks": True}}
    return config.model_dump(
        mode="json", exclude={"mail": True, "defaults": True, "policies": policies}, by_alias=True
    )


def _make_nest(root: Path) -> None:
    """Make the directory that stores are kept in."""
    try:
        make_nest(root, NEST)
    except OSError as error:
        raise ServiceError(f"{root / NEST}: {error.strerror}", hint=_ROOT_HINT) from error
