"""The processes of a service: started, started again when they die, ended in order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import structlog

import vh5d
from vh5d.policy import Reading
from vh5d.service.running import logs
from vh5d.service.running.handover import VARIABLE, hand_over
from vh5d.service.running.process import kill_group, spawn
from vh5d.service.running.surroundings import HERE

#: Seconds before a child that died is started again, doubled each time, and the longest.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
#: A child that lived so long counts as healthy: the pauses begin anew.
HEALTHY_AFTER = 60.0
#: Where `vh5d watch` and `vh5d worker` find the broker's address.
BROKER_VARIABLE = "VH5D_BROKER"
#: Seconds that a killed process may take to end.
KILL_TIMEOUT = 5.0

log = structlog.stdlib.get_logger(__name__)


class Child:
    """A process of ours that is to live as long as the service.

    Parameters
    ----------
    name
        What people call it.
    start
        Starts it.
    ready
        Called before it is started, and again until it returns True.

    Attributes
    ----------
    renewing
        It is to end, and another to take its place.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], subprocess.Popen[bytes]],
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self.renewing = False
        self._start = start
        self._ready = ready
        self._pause = FIRST_PAUSE
        self._again_at: float | None = None
        self._started_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it, or have `tend` do so when it is ready."""
        if not self._ready():
            self._again_at = time.monotonic() + FIRST_PAUSE
            return
        self._again_at = None
        self._started_at = time.monotonic()
        self.process = self._start()
        if self.renewing:
            self.renewing = False
            log.info("follows the new configuration", child=self.name)

    def tend(self) -> None:
        """Start it again if it died and the pause is over."""
        now = time.monotonic()
        if self.alive:
            if now - self._started_at > HEALTHY_AFTER:
                self._pause = FIRST_PAUSE
            return
        if self._again_at is None and self.renewing:
            self.start()
        elif self._again_at is None:
            self._note_death(now)
        elif now >= self._again_at:
            renewing = self.renewing
            self.start()
            if self.alive and not renewing:
                log.info("started again", child=self.name)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            kill_group(self.process.pid)
            try:
                self.process.wait(KILL_TIMEOUT)
            except subprocess.TimeoutExpired:
                # It hangs in the kernel, on a share or a disk: the kernel ends it some day.
                log.warning("cannot be killed, going on without it", child=self.name)

    def renew(self) -> None:
        """Have it end in its own time, and another take its place."""
        self.renewing = self.alive
        self.ask_to_end()

    def ask_to_end(self) -> None:
        """SIGTERM: it ends in its own time."""
        if self.process is not None and self.alive:
            self.process.terminate()

    def _note_death(self, now: float) -> None:
        status = self.process.returncode if self.process is not None else None
        log.error("died, starting it again", child=self.name, status=status, seconds=self._pause)
        if self.process is not None:
            kill_group(self.process.pid)
        self._again_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


class Roles:
    """Starts `vh5d` commands as children, and collects what they log.

    Parameters
    ----------
    broker
        Its address. They find it in their environment: a command line is everybody's to read.
    arguments
        What every one of them is told: the configuration.
    records
        Where their log records go.
    program
        What Python runs.
    """

    def __init__(
        self,
        broker: str,
        arguments: Sequence[str],
        records: SimpleQueue[dict[str, Any]],
        program: Sequence[str] = HERE.program,
    ) -> None:
        self._broker = broker
        self._arguments = list(arguments)
        self._records = records
        self._program = program
        self._settings: int | None = None

    def follow(self, reading: Reading) -> None:
        """Hand this configuration to those that are started from now on."""
        before, self._settings = self._settings, hand_over(reading)
        if before is not None:
            os.close(before)

    def start(self, role: str) -> subprocess.Popen[bytes]:
        """Start a role; its records say which one it is."""
        # -P: a file in the working directory must not stand in for a module.
        command = [sys.executable, "-P", *self._program, role, "--json"]
        command += ["--parent", str(os.getpid()), *self._arguments]
        package = str(Path(vh5d.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), package]))
        environment = {**os.environ, "PYTHONPATH": path, BROKER_VARIABLE: self._broker}
        settings = [] if self._settings is None else [self._settings]
        if settings:
            environment[VARIABLE] = str(self._settings)
        child = spawn(command, env=environment, output=subprocess.PIPE, inherited=settings)
        threading.Thread(
            target=self._collect, args=(role, child.stdout), name=f"log of {role}", daemon=True
        ).start()
        return child

    def _collect(self, role: str, output: IO[bytes] | None) -> None:
        for line in output or ():
            text = line.decode(errors="replace").rstrip()
            if text:
                self._records.put(logs.parse(text, role))


def arguments_for(config: Path | None, directories: Sequence[Path]) -> list[str]:
    """What a role has to be told to do its part of the same service."""
    return ["--config", str(config)] if config is not None else ["--", *map(str, directories)]
