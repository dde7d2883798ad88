"""Begins rounds of maintenance beside a worker: each night, and when a quota asks for one.

The round is a process of its own, with less priority than captures: stores are opened there, and
whatever becomes of it the worker goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import redis
import structlog

from vh5d.policy import Config, Reading
from vh5d.policy.places import is_here
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.running.children import BROKER_VARIABLE
from vh5d.service.running.handover import VARIABLE, hand_over
from vh5d.service.running.process import end, spawn
from vh5d.service.running.surroundings import HERE, Surroundings, wall_clock
from vh5d.service.stores.upkeep import Upkeep, last_night

#: Seconds between two looks at what is due.
PAUSE = 5.0
#: Seconds before another round after one that failed.
FAILURE_PAUSE = 60.0
#: Seconds that a round may take to end when asked to: a store that is at work is finished.
END_TIMEOUT = 20.0

Start = Callable[[Sequence[str]], "subprocess.Popen[bytes]"]

log = structlog.stdlib.get_logger(__name__)


class Maintainer:
    """Looks for what is due in a thread of its own.

    Parameters
    ----------
    config
        Which policies have a retention, and when nights are.
    upkeep
        What was done, by whichever host.
    start
        Starts a round for policies of these names.
    present
        The clock on the wall.
    """

    def __init__(
        self,
        config: Config,
        upkeep: Upkeep,
        start: Start,
        *,
        present: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._upkeep, self._start_round, self._present = upkeep, start, present
        self._at = config.maintenance
        self._policies = [each for each in config.policies if each.retention is not None]
        self._not_before = -FAILURE_PAUSE
        self._round: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="maintainer", daemon=True)

    def start(self) -> None:
        """Begin; nothing to do without a policy that has a retention."""
        if self._policies:
            self._thread.start()

    def stop(self) -> None:
        """End, and the round that is at work."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._round is not None:
            end(self._round, END_TIMEOUT)

    def due(self) -> list[str]:
        """Return the policies whose stores are to be thinned now, and that nobody is at."""
        now = self._upkeep.now()
        night = last_night(self._at, self._present()) if self._at is not None else None
        return [
            policy.name
            for policy in self._policies
            if self._upkeep.record(policy.name).wants_round(night, now)
            and not self._upkeep.is_taken(policy.name)
            and is_here(policy)
        ]

    def step(self) -> None:
        """Begin a round if one is due; see how the last one ended."""
        if self._round is not None:
            status = self._round.poll()
            if status is None:
                return
            if status != 0:
                log.error("a round of maintenance failed", status=status)
                self._not_before = time.monotonic() + FAILURE_PAUSE
            self._round = None
        if time.monotonic() < self._not_before:
            return
        policies = self.due()
        if policies:
            log.debug("maintenance begins", policies=policies)
            self._round = self._start_round(policies)

    def _live(self) -> None:
        while not self._stop.wait(PAUSE):
            try:
                self.step()
            except (redis.RedisError, OSError) as error:
                log.debug("looked for later", error=str(error))


def maintainer(
    config: Config,
    broker: str,
    arguments: Sequence[str],
    surroundings: Surroundings = HERE,
    reading: Reading | None = None,
) -> Maintainer:
    """Return one whose rounds are `vh5d maintain`.

    Parameters
    ----------
    config
        Settings.
    broker
        Its address. The child finds it in its environment: a command line is everybody's to read.
    arguments
        What the child is told of the configuration, and of how to log.
    surroundings
        The clock of the nights, and the child's program.
    reading
        What `config` is from: the child follows that, whatever its file says by now.
    """
    catalog = Catalog(connect(broker))
    start = starter(broker, arguments, surroundings.program, reading)
    upkeep = Upkeep(catalog.client, catalog.now)
    return Maintainer(config, upkeep, start, present=surroundings.present)


def starter(
    broker: str,
    arguments: Sequence[str],
    program: Sequence[str] = HERE.program,
    reading: Reading | None = None,
) -> Start:
    """Return what starts `vh5d maintain` as a child."""
    settings = [] if reading is None else [hand_over(reading)]
    environment = {BROKER_VARIABLE: broker}
    if settings:
        environment[VARIABLE] = str(settings[0])

    def start(policies: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", *program, "maintain", "--due"]
        command += ["--parent", str(os.getpid())]
        command += [f"--policy={policy}" for policy in policies]
        return spawn([*command, *arguments], env={**os.environ, **environment}, inherited=settings)

    return start
