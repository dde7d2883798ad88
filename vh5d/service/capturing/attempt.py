"""One attempt to capture a source: what a worker does with a path and the name of a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from vh5d.capture.capture import capture
from vh5d.capture.options import Busy, CaptureResult, utc_now
from vh5d.errors import (
    QuotaError,
    SourceBusyError,
    SourceChangedError,
    SourceMissingError,
    StoreBusyError,
    StoreConflictError,
    VH5DError,
)
from vh5d.hdf5.source_file import SourceFile
from vh5d.policy import Policy
from vh5d.policy.units import format_size
from vh5d.service.capturing import followers
from vh5d.service.capturing.asked import capture_options
from vh5d.service.capturing.follow import follow_rename
from vh5d.service.capturing.percent import Percent
from vh5d.service.capturing.quota import Quota
from vh5d.service.capturing.setbacks import MOST_ATTEMPTS, Setbacks
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import CHANGE, MAX_WAIT, RESCAN, SWMR, FileStat, Source, State
from vh5d.service.running.logs import NOTED
from vh5d.service.watching.presence import inode, is_absent, was_deleted
from vh5d.store.reader import open_store
from vh5d.store.versions import VersionInfo

#: Attempts to keep a file by its bytes that ended `MOST_ATTEMPTS` processes.
MOST_UNPARSED = 3
#: Seconds that a capture waits for another writer or reader of the store.
STORE_TIMEOUT = 10.0
#: What to do about a file that is open for writing, by why its capture was asked for.
_BUSY: dict[str, Busy] = {MAX_WAIT: "try", SWMR: "swmr"}
#: Errors that pass, and say nothing against the file.
_PASSING = (SourceBusyError, SourceChangedError, StoreBusyError, StoreConflictError)

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class _Case:
    """A source as an attempt found it; `by_bytes` is the state of one that HDF5 cannot open."""

    path: Path
    real: Path
    policy: Policy
    root: Path
    before: Source
    stat: FileStat
    by_bytes: State

    @property
    def store(self) -> Path:
        return self.policy.store_for(self.path)

    def state(self, kept_as: str | None) -> State:
        if kept_as == "bytes":
            return self.by_bytes
        # What was seen of a file as it grew is not all of it.
        grew = kept_as == "content" and self.by_bytes is State.UNCLEAN
        return State.GROWING if grew else State.CURRENT


@dataclass(frozen=True)
class Attempt:
    """Captures sources and records in the catalog what came of it.

    Parameters
    ----------
    policies
        By name.
    catalog
        Where to record.
    random
        A number in [0, 1), to spread attempts that failed together.
    clock
        Tells the time.
    """

    policies: dict[str, Policy]
    catalog: Catalog
    random: Callable[[], float]
    clock: Callable[[], datetime] = utc_now

    def __call__(self, path: Path, policy_name: str) -> State | None:
        """Capture `path` as the policy says.

        Returns
        -------
        State or None
            The state the source is in afterwards; None: refused.
        """
        policy = self.policies.get(policy_name)
        # Both follow symbolic links: they know a path that leads out.
        meant = policy is not None and policy.matches(path)
        root = policy.root_of(path) if policy is not None and meant else None
        if policy is None or root is None:
            log.error("refused: outside the policy", path=str(path), policy=policy_name)
            self.catalog.claims.refused(path)
            return None
        most = policy.limits.concurrency
        if most is None:
            return self._attempt(path, policy, root)
        if not self.catalog.captures.take_place(path, policy.name, most):
            log.info("waits for a place", path=str(path), policy=policy.name, concurrency=most)
            return State.SETTLING
        try:
            return self._attempt(path, policy, root)
        finally:
            self.catalog.captures.leave_place(path, policy.name, most)

    @property
    def _setbacks(self) -> Setbacks:
        return Setbacks(self.catalog, self.random)

    def _attempt(self, path: Path, policy: Policy, root: Path) -> State:
        before = self.catalog.captures.started(path, policy.name)
        log.info("begun", path=str(path), policy=policy.name, attempts=before.attempts)
        try:
            return self._capture(path, policy, root, before)
        except SourceMissingError as error:
            if is_absent(path) and not was_deleted(path, root, before):
                return self._setbacks.passing(path, policy, before, error)
            self.catalog.sightings.missing(path)
            log.info("missing", path=str(path))
            return State.MISSING
        except _PASSING as error:
            return self._setbacks.passing(path, policy, before, error)
        except QuotaError as error:
            return self._setbacks.over_quota(path, before, error)
        except VH5DError as error:
            failure = error
        except MemoryError:
            failure = VH5DError("out of memory")
        except Exception as error:
            log.exception("capture failed", path=str(path))
            failure = VH5DError(f"{type(error).__name__}: {error}")
        return self._setbacks.failed(path, root, before, failure)

    def _capture(self, path: Path, policy: Policy, root: Path, before: Source) -> State:
        with SourceFile(path) as source:
            real = source.real_path()
            if not policy.leads_inside(path, real):
                raise SourceChangedError(f"{path}: leads out of {root} by now")
            stat = FileStat.of(source.stat())
            head = source.superblock()
        if before.attempts >= MOST_ATTEMPTS + MOST_UNPARSED:
            return self._setbacks.give_up(
                path, root, before, stat, f"it ended {before.attempts} workers"
            )
        if stat.size == 0:
            return self._setbacks.empty(path, policy, root, before, stat)
        most = policy.limits.file_size
        if most is not None and stat.size > most:
            error = f"larger than {format_size(most)} (limits.file_size)"
            return self._setbacks.give_up(path, root, before, stat, error, state=State.TOO_LARGE)
        if before.busy == 0 and (head is None or head.eof > stat.size):
            # Perhaps somebody we cannot see has not finished writing it.
            raise SourceBusyError("not a whole HDF5 file yet")
        by_bytes = State.UNCLEAN if head is not None and head.writing else State.UNREADABLE
        return self._capture_whole(_Case(path, real, policy, root, before, stat, by_bytes))

    def _capture_whole(self, case: _Case) -> State:
        before, policy = case.before, case.policy
        self._follow(case)
        if before.cause == RESCAN or policy.min_interval:
            last = self._last_version(case)
            # What it leads to may have changed, which its own state does not tell.
            known = before.cause == RESCAN and not policy.follow
            if last is not None and known and _is_of(last, case):
                return self._tell_known(case, last)
            if last is not None and (early := _too_early(last, policy, self.clock())) > 0:
                return self._setbacks.too_early(case.path, policy, before, early)
        options = capture_options(
            policy,
            case.path,
            real=case.real,
            timeout=STORE_TIMEOUT,
            busy=_BUSY.get(before.cause or CHANGE, "refuse"),
            parse=before.attempts < MOST_ATTEMPTS,
            policies=tuple(self.policies.values()),
        )
        quota = Quota(self.catalog.client, self.catalog.now)
        quota.admit(policy)
        result = capture(
            case.path,
            case.store,
            options=options,
            cause=before.cause or CHANGE,
            clock=self.clock,
            progress=Percent(self.catalog, case.path),
        )
        state = self._record(case, result, options.follow)
        if result.changed:
            followers.call(self.catalog, case.path)
        quota.added(policy, result.bytes_added)
        return state

    def _record(self, case: _Case, result: CaptureResult, follow: object) -> State:
        path, state = case.path, case.state(result.kept_as)
        good = {State.CURRENT, State.GROWING}
        error = None if state in good else "; ".join(result.warnings) or "kept by bytes"
        known: dict[str, Any] = {"kept_as": result.kept_as}
        if result.version is not None:
            known["version"] = result.version
        if isinstance(follow, followers.Follower):
            known["follows"] = follow.states
            followers.remember(self.catalog, path, follow.states)
        self.catalog.captures.captured(
            path,
            case.stat,
            state=state,
            before=case.before,
            changed=result.changed,
            error=error,
            root_inode=inode(case.root),
            store=str(result.store),
            bytes_added=result.bytes_added,
            seconds=result.seconds,
            **known,
        )
        for warning in result.warnings:
            log.warning(NOTED, path=str(path), warning=warning)
        if result.changed:
            log.info(
                "version",
                path=str(path),
                version=result.version,
                bytes_added=result.bytes_added,
                source_bytes=result.source_bytes,
                seconds=round(result.seconds, 4),
                kept_as=result.kept_as,
            )
        else:
            log.info("unchanged", path=str(path))
        return state

    def _follow(self, case: _Case) -> None:
        """Take along the history of a file that had another name, here or in another directory."""
        moved_from = case.before.moved_from
        source = Path(moved_from) if moved_from is not None else None
        if source is None and not case.store.exists():
            source = self.catalog.sightings.name_of(case.stat)
        if source is None:
            return
        own = [case.policy, *self.policies.values()]
        before = next((policy for policy in own if policy.matches(source)), None)
        if before is not None and follow_rename(case.policy, source, case.path, before=before):
            self.catalog.sightings.went(source, case.path)

    def _last_version(self, case: _Case) -> VersionInfo | None:
        if not case.store.exists():
            return None
        with open_store(case.store) as reader:
            return reader.versions[-1] if reader.versions else None

    def _tell_known(self, case: _Case, last: VersionInfo) -> State:
        state = case.state(last.kept_as)
        self.catalog.captures.captured(
            case.path,
            case.stat,
            state=state,
            before=case.before,
            root_inode=inode(case.root),
            store=str(case.store),
            version=last.name,
            kept_as=last.kept_as,
            bytes_added=last.bytes_added,
        )
        log.info("unchanged", path=str(case.path))
        return state


def _is_of(version: VersionInfo, case: _Case) -> bool:
    """Whether a version is of the state that a file is in, and all that is wanted of it."""
    stat = case.stat
    if (version.source_size, version.source_mtime_ns) != (stat.size, stat.mtime_ns):
        return False
    return version.kept_as != "content" or not case.policy.exact


def _too_early(version: VersionInfo, policy: Policy, now: datetime) -> float:
    """Seconds until there may be another version; a clock that was set back makes nobody wait."""
    age = (now - version.timestamp).total_seconds()
    return policy.min_interval - age if age >= 0 else 0.0
