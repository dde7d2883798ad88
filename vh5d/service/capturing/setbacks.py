"""What becomes of a source whose attempt led to no version: another attempt, or none for now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from vh5d.errors import QuotaError, SourceUnreadableError, StoreWriteError, VH5DError
from vh5d.policy import Policy
from vh5d.policy.units import format_duration
from vh5d.service.capturing.quota import RETRY_PAUSE
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.retries import FIRST_PAUSE, LONGEST_PAUSE
from vh5d.service.catalog.source import FileStat, Source, State
from vh5d.service.watching.presence import inode

#: After so many attempts a failing file is left alone until it changes; one that ended its
#: process so often is not parsed any more, and kept by its bytes.
MOST_ATTEMPTS = 5

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Setbacks:
    """Records in the catalog why there is no version; each method returns the state afterwards.

    Parameters
    ----------
    catalog
        Where to record.
    random
        A number in [0, 1), to spread attempts that failed together.
    """

    catalog: Catalog
    random: Callable[[], float]

    def too_early(self, path: Path, policy: Policy, before: Source, seconds: float) -> State:
        """Leave a change to the end of the interval in which there is a version already."""
        error = f"the last version is younger than {format_duration(policy.min_interval)}"
        log.info("not now", path=str(path), reason=error)
        self.catalog.captures.postponed(
            path,
            seconds,
            error,
            state=State.SETTLING,
            attempts=None,
            busy=before.busy,
            before=before,
        )
        return State.SETTLING

    def passing(self, path: Path, policy: Policy, before: Source, error: VH5DError) -> State:
        """Try again soon: what went wrong passes, and says nothing against the file."""
        busy = before.busy + 1
        pause = min(policy.settle * 2 ** min(busy - 1, 8), LONGEST_PAUSE, policy.max_wait)
        log.info("not now", path=str(path), reason=str(error))
        self.catalog.captures.postponed(
            path,
            pause * (1 + self.random() / 4),
            str(error),
            state=State.SETTLING,
            attempts=None,
            busy=busy,
            before=before,
        )
        return State.SETTLING

    def over_quota(self, path: Path, before: Source, error: QuotaError) -> State:
        """Leave a file alone until there is room, which is no fault of its own."""
        log.error("refused", path=str(path), error=str(error))
        self.catalog.captures.postponed(
            path,
            RETRY_PAUSE * (1 + self.random() / 4),
            str(error),
            state=State.QUOTA,
            attempts=None,
            busy=before.busy,
            before=before,
        )
        return State.QUOTA

    def failed(self, path: Path, root: Path, before: Source, error: VH5DError) -> State:
        """Try again, later each time, as long as that may lead to anything."""
        attempts = before.attempts + 1
        if isinstance(error, StoreWriteError | SourceUnreadableError):
            attempts = min(attempts, MOST_ATTEMPTS - 1)  # the disk's fault: never given up
        state = State.UNREADABLE if isinstance(error, SourceUnreadableError) else State.FAILED
        if attempts >= MOST_ATTEMPTS:
            return self.give_up(path, root, before, _stat(path), str(error), state)
        pause = min(FIRST_PAUSE * 2 ** min(attempts - 1, 16), LONGEST_PAUSE)
        log.warning("failed", path=str(path), error=str(error), attempts=attempts)
        self.catalog.captures.postponed(
            path,
            pause * (1 + self.random()) / 2,
            str(error),
            state=state,
            attempts=attempts,
            busy=before.busy,
            before=before,
        )
        return state

    def give_up(
        self,
        path: Path,
        root: Path,
        before: Source,
        stat: FileStat | None,
        error: str,
        state: State = State.FAILED,
    ) -> State:
        """Leave it alone until it changes."""
        log.error("given up until it changes", path=str(path), error=error)
        self.catalog.captures.given_up(
            path, stat, error, state=state, root_inode=inode(root), before=before
        )
        return state

    def empty(
        self, path: Path, policy: Policy, root: Path, before: Source, stat: FileStat
    ) -> State:
        """Say that nothing is in it, any more or yet."""
        if not policy.store_for(path).exists():
            return self.give_up(path, root, before, stat, "empty", state=State.UNREADABLE)
        log.info("emptied", path=str(path))
        self.catalog.captures.given_up(
            path,
            stat,
            "emptied; its versions are there",
            state=State.EMPTIED,
            root_inode=inode(root),
            before=before,
        )
        return State.EMPTIED


def _stat(path: Path) -> FileStat | None:
    try:
        return FileStat.of(path.stat())
    except OSError:
        return None
