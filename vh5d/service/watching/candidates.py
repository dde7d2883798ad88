"""Files that changed, until they are at rest and their capture is to be asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from vh5d.hdf5.writers import WriterState
from vh5d.policy import Config, Policy
from vh5d.service.catalog.source import CHANGE, MAX_WAIT, RESCAN, RETRY, SWMR
from vh5d.service.watching.contact import Contact
from vh5d.service.watching.growing import Growing, after_death, is_shared
from vh5d.service.watching.inbox import Change, Kind
from vh5d.service.watching.settle import Settle, Timing

#: Files dealt with in one round, so that a hundred thousand do not silence the loop.
AT_ONCE = 200

Probe = Callable[[Iterable[Path]], Mapping[Path, WriterState]]

log = structlog.stdlib.get_logger(__name__)


class Candidates:
    """Decides which files are captured, when, and why.

    Parameters
    ----------
    config
        Their policies.
    contact
        Tells the catalog.
    probe
        Tells who writes which of some files.
    clock
        Seconds that do not go back.

    Attributes
    ----------
    ready
        Files that are to be captured, and why.
    """

    def __init__(
        self, config: Config, contact: Contact, probe: Probe, clock: Callable[[], float]
    ) -> None:
        self.ready: dict[Path, str] = {}
        self._config = config
        self._contact = contact
        self._probe = probe
        self._clock = clock
        self._settle: Settle[Path] = Settle()
        self._growing: Growing[Path] = Growing()
        self._causes: dict[Path, str] = {}

    def __len__(self) -> int:
        """How many have not come to rest."""
        return len(self._settle)

    def next_due(self) -> float | None:
        """When to choose again; None: nothing waits."""
        dues = (self._settle.next_due(), self._growing.next_due())
        return min((due for due in dues if due is not None), default=None)

    # In.

    def changed(self, path: Path, change: Change, policy: Policy) -> None:
        """Something happened to a file."""
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
            self._contact.tell(lambda catalog: catalog.sightings.moved(source, path, policy.name))

    def tried_again(self, path: Path, policy: Policy) -> None:
        """Its capture is to be tried again, if it is not on its way."""
        if path not in self._settle and path not in self.ready:
            timing = Timing(policy.settle, policy.max_wait)
            self._settle.found(path, self._clock(), 0.0, timing)
            self._causes.setdefault(path, RETRY)

    def forget(self, path: Path) -> None:
        """It is gone."""
        self.put_off(path)
        self._growing.forget(path)
        self._causes.pop(path, None)
        self.ready.pop(path, None)

    def put_off(self, path: Path) -> None:
        """Leave it until something brings it back: its close, or a look at the disk."""
        self._settle.forget(path)

    # Out.

    def choose(self, now: float, is_there: Callable[[Path], bool]) -> bool:
        """Find out which files are ready by now; whether any was to be decided of.

        Parameters
        ----------
        is_there
            Whether a file can be seen.
        """
        due = [path for path in self._settle.due(now, AT_ONCE) if is_there(path)]
        looked = [path for path in self._growing.take(now, AT_ONCE) if is_there(path)]
        if not due and not looked:
            return False
        written = self._probe([*due, *looked])
        for path in looked:
            self._look_at(path, written.get(path), now)
        for path in due:
            if path in self._settle:
                self._decide(path, written.get(path), now)
        return True

    def _decide(self, path: Path, writer: WriterState | None, now: float) -> None:
        cause = self._causes.get(path, CHANGE)
        if writer is not None and self._waits(path, writer, now):
            return
        if writer is not None and writer.process is not None:
            cause = MAX_WAIT
            log.warning("still being written", path=str(path), by=str(writer))
        self._settle.take(path)
        self._growing.forget(path)
        self._causes.pop(path, None)
        self.ready[path] = cause

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
            self.put_off(path)
            return True
        return False

    def _look_at(self, path: Path, writer: WriterState | None, now: float) -> None:
        """Have a file captured if it grows; if not, it waits until it is at rest."""
        policy = self._config.policy_for(path)
        if policy is None or writer is None or not is_shared(writer, policy):
            return
        self._settle.forget(path)
        self._causes.pop(path, None)
        self.ready[path] = SWMR
        if writer.process is None:
            # Somebody whom we cannot see, or nobody any more.
            self._settle.found(path, now, now, after_death(policy))

    def _leave_growing(self, path: Path, policy: Policy, now: float) -> None:
        """Leave a file that grows to the next look at it; its close brings it back."""
        self._growing.changed(path, now, policy.swmr_interval)
        self._settle.forget(path)
        if self._causes.pop(path, None) == RETRY:
            self._contact.tell(lambda catalog: catalog.retries.later(path, policy.swmr_interval))
