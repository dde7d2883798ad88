"""A role that runs by itself: it becomes its own successor when its configuration changes.

The process ends in order, captures at work included, and executes itself with the new settings: it
keeps its process id, and what was missed meanwhile is found by the look at the disk that every
start begins with.
"""

from __future__ import annotations

import os
import sys
import threading

import structlog

from vh5d.policy import Reading
from vh5d.service.running.handover import VARIABLE, hand_over
from vh5d.service.running.notify import Notifier
from vh5d.service.running.reload import TICK, ConfigFile
from vh5d.service.running.signals import StopRequests
from vh5d.service.telling.notices import Notices

log = structlog.stdlib.get_logger(__name__)


class Successor:
    """Waits for another configuration.

    Parameters
    ----------
    reading
        The one in force.
    requests
        To stop, or to look at the file; it gives way when a successor is to take over.
    """

    def __init__(
        self,
        reading: Reading,
        requests: StopRequests,
        notices: Notices,
        notifier: Notifier,
    ) -> None:
        self._file = ConfigFile(reading, notices, lambda: requests.reloads, notifier)
        self._requests = requests
        self._notifier = notifier
        self._next: Reading | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        self._file.start()
        threading.Thread(target=self._wait, name="successor", daemon=True).start()

    @property
    def expected(self) -> bool:
        """Whether the role ends in order to follow another configuration."""
        return self._next is not None and self._requests.count == 0

    def take_over(self) -> None:
        """Become the successor, if there is to be one; return otherwise."""
        self._stopped.set()
        self._file.stop()
        if not self.expected or self._next is None:
            return
        os.environ[VARIABLE] = str(hand_over(self._next))
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves

    def _wait(self) -> None:
        while not self._stopped.wait(TICK):
            found = self._file.take()
            if found is None or found.config is None:
                continue
            names = [policy.name for policy in found.config.policies]
            log.info("new configuration", file=str(found.path), policies=names)
            self._notifier.reloading()
            self._next = found
            self._requests.give_way()
            return
