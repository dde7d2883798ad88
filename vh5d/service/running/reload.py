"""A configuration file that changes while its service runs.

A thread looks at it: on a share that hangs, it hangs alone. What it finds wrong is refused, and the
configuration in force stays; what is right and different is proposed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import redis
import structlog

from vh5d.policy import Config, Reading, read
from vh5d.service.running.notify import Notifier
from vh5d.service.telling.notices import REPEATED, Notices

#: Seconds between two looks at the file, and how soon a request for one is noticed.
LOOK_PAUSE = 2.0
TICK = 0.2
#: Seconds that the file must stay as it is: whoever writes it may not have finished.
UNTOUCHED = 0.3

log = structlog.stdlib.get_logger(__name__)


class ConfigFile:
    """The configuration in force, and what its file says by now.

    Parameters
    ----------
    reading
        What is in force.
    notices
        Where to say that the file is not; None: nowhere.
    requests
        How often somebody asked for a look (SIGHUP).
    notifier
        Is told that such a request is being heeded, and when it was refused.
    """

    def __init__(
        self,
        reading: Reading,
        notices: Notices | None = None,
        requests: Callable[[], int] = lambda: 0,
        notifier: Notifier | None = None,
    ) -> None:
        self._in_force = reading
        self._seen = reading
        self._secrets = _stamps(reading)
        self._notices = notices
        self._requests = requests
        self._heeded = requests()
        self._notifier = notifier or Notifier({})
        self._heeding = False
        self._proposal: Reading | None = None
        self._told: str | None = None
        self._tell_at = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.refused: str | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._run, name="configuration", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def take(self) -> Reading | None:
        """A configuration that is right and not in force, once; None: there is none."""
        proposal, self._proposal = self._proposal, None
        return proposal

    def accept(self, reading: Reading) -> None:
        """It is in force now."""
        self._in_force = reading
        self.refused = None
        self._heeding = False

    def refuse(self, reason: str) -> None:
        """What was proposed cannot be in force."""
        if reason != self.refused:
            log.error("configuration refused, the old one stays", reason=reason)
        self.refused = reason
        self._heed_no_more()

    def look(self, *, asked: bool = False) -> None:
        """Look at the file once."""
        stamps = _stamps(self._seen)
        if not asked and stamps == self._secrets and self._seen.texts.same_on_disk():
            return
        found = read(self._in_force.path)
        if self._ended.wait(UNTOUCHED) or not found.texts.same_on_disk():
            return  # it is being written: the next look finds it
        self._seen, self._secrets = found, _stamps(found)
        if asked:
            self._heeding = True
            self._notifier.reloading()
        if found.config is None:
            self.refuse("; ".join(map(str, found.problems)))
        elif found.config == self._in_force.config:
            if asked or self.refused is not None:
                log.info("configuration as it was", file=str(found.path))
            self.refused = None
            self._heed_no_more()
        else:
            self._proposal = found

    def _heed_no_more(self) -> None:
        if self._heeding:
            self._heeding = False
            self._notifier.ready()

    def _run(self) -> None:
        look_at = time.monotonic() + LOOK_PAUSE
        while not self._ended.wait(TICK):
            requests = self._requests()
            asked, self._heeded = requests != self._heeded, requests
            if asked or time.monotonic() >= look_at:
                self.look(asked=asked)
                look_at = time.monotonic() + LOOK_PAUSE
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if self._notices is None or (self.refused == self._told and now < self._tell_at):
            return
        if self.refused is None and self._told is None:
            return
        try:
            self._notices.tell(str(self._in_force.path), self.refused)
        except redis.RedisError as error:
            log.debug("cannot be told yet", error=str(error))
            self._tell_at = now + LOOK_PAUSE
            return
        self._told, self._tell_at = self.refused, now + REPEATED


def what_needs_a_start(old: Config, new: Config) -> str | None:
    """Why `new` cannot take the place of `old` in a running service; None: it can."""
    keys = ("broker", "state", "path_maps", "metrics")
    changed = [key for key in keys if getattr(old, key) != getattr(new, key)]
    if not changed:
        return None
    return (
        f"{' and '.join(changed)} cannot change while the service runs: stop it, and start it again"
    )


def _stamps(reading: Reading) -> Mapping[Path, tuple[int, int] | None]:
    stamps: dict[Path, tuple[int, int] | None] = {}
    for path in reading.secrets:
        try:
            found = path.stat()
            stamps[path] = (found.st_mtime_ns, found.st_size)
        except OSError:
            stamps[path] = None
    return stamps
