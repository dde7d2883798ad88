"""`vh5d up`: broker, worker and watcher, each a process, kept alive and ended in order.

The watcher is a process like the others, not a thread: a share that hangs takes it along but
leaves the service able to say so and to stop, and `up` runs the very roles that `vh5d watch` and
`vh5d worker` run on many machines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import redis
import structlog

from vh5d.capture.home import refuse_links
from vh5d.errors import ServiceError
from vh5d.policy import Config
from vh5d.policy.patience import ask
from vh5d.policy.units import format_duration
from vh5d.service import logs
from vh5d.service.broker import Broker
from vh5d.service.catalog import Catalog, connect
from vh5d.service.children import Child, Roles, arguments_for
from vh5d.service.live import Introduction, Overview, View, count_states
from vh5d.service.notify import Notifier
from vh5d.service.signals import StopRequests
from vh5d.service.state import Description, describe, directory_for, hold, root_lock

TICK = 0.1
#: Seconds for each child to end when asked to: a capture may be at work.
STOP_TIMEOUT = 60.0
#: Seconds without a sign of life after which the watcher is started again.
WATCHER_SILENT = 60.0
#: Seconds without an answer of a private broker after which the service is not well.
BROKER_SILENT = 60.0
#: Counting the catalog takes at most this part of the time.
OVERVIEW_SHARE = 0.05

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Plan:
    """What `vh5d up` was told.

    Parameters
    ----------
    config
        Settings.
    config_file, directories
        Where they came from: what the children are told.
    state
        The state directory, if one was chosen.
    """

    config: Config
    config_file: Path | None
    directories: Sequence[Path]
    state: Path | None = None
    stop_timeout: float = STOP_TIMEOUT

    @property
    def roots(self) -> list[Path]:
        """Watched directories."""
        return list(dict.fromkeys(root for policy in self.config.policies for root in policy.roots))

    @property
    def state_directory(self) -> Path:
        """Where the service keeps what it needs to run."""
        chosen = self.state or self.config.state or directory_for(self.roots[0])
        return chosen.absolute()

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
        state = plan.state_directory
        self._broker = Broker(state / "broker") if plan.config.broker == "embedded" else None
        self._url = self._broker.url if self._broker else plan.config.broker
        self._catalog = Catalog(connect(self._url))
        arguments = arguments_for(plan.config_file, plan.directories)
        roles = Roles(self._url, arguments, self._records)
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
        state = self._plan.state_directory
        held.callback(hold(state / "lock", f"the state directory {state} is in use").release)
        for root in self._plan.roots:
            if not ask(root.is_dir, otherwise=False):
                continue
            inside = any(
                root in policy.roots and policy.store.startswith("{root}/.vh5d/")
                for policy in self._plan.config.policies
            )
            lock = root_lock(root, beside_stores=inside)
            if inside:
                refuse_links(lock, root)
            hint = "give this user the right to write there, or name another `store` in --config"
            held.callback(hold(lock, f"{root} is watched already", hint=hint).release)
        describe(
            state,
            Description(
                pid=os.getpid(),
                broker=self._url,
                watch=[str(root) for root in self._plan.roots],
                config=str(self._plan.config_file) if self._plan.config_file else None,
                started=time.time(),
            ),
        )

    def _start(self) -> None:
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
            states = count_states(source.state for source in self._catalog.sources())
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
        if self._broker is None:
            return True
        try:
            self._catalog.restart_queue()
        except redis.RedisError as error:
            log.debug("the queue cannot be cleared yet", error=str(error))
            return False
        return True

    def _end(self) -> None:
        """The worker finishes what it does; the broker goes last."""
        self._notifier.stopping()
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
