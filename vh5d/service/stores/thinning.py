"""Thinning a store by retention: what the rules let go is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from vh5d.hdf5.disk import Disk
from vh5d.hdf5.punching import Progress
from vh5d.policy import Policy
from vh5d.policy.retention import Verdict, judge
from vh5d.policy.retention_settings import Retention
from vh5d.store.prune import PruneResult, prune
from vh5d.store.reader import open_store
from vh5d.store.versions import VersionInfo


@dataclass(frozen=True)
class Thinned:
    """What thinning a store did, or would do.

    Attributes
    ----------
    versions, verdicts
        What there was, oldest first, and what the rules said of it.
    result
        What was dropped; None when nothing was to go.
    """

    store: Path
    versions: tuple[VersionInfo, ...]
    verdicts: tuple[Verdict, ...]
    result: PruneResult | None

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of the versions that went, oldest first."""
        return () if self.result is None else self.result.dropped

    @property
    def bytes_returned(self) -> int:
        """How many bytes the store takes less on its disk."""
        return 0 if self.result is None else self.result.bytes_returned


def owner(store: Path, policies: Sequence[Policy]) -> Policy | None:
    """Return the policy that keeps a store; None: it cannot be told, so nobody may thin it.

    Where several would put a store there, the source that the store names decides.

    Parameters
    ----------
    store
        The store.
    policies
        All of a configuration.

    Raises
    ------
    StoreError
        It cannot be read, or not now.
    """
    candidates = [policy for policy in policies if policy.is_store(store)]
    if len(candidates) <= 1:
        return next(iter(candidates), None)
    with open_store(store) as reader:
        source = reader.versions[-1].source_path if reader.versions else None
    if source is None:
        return None
    meant = next((policy for policy in policies if policy.matcher.matches(source)), None)
    return meant if meant in candidates and meant.store_for(source) == store else None


def thin(
    store: Path,
    rules: Retention,
    *,
    now: datetime,
    zone: tzinfo | None = None,
    dry_run: bool = False,
    timeout: float = 30.0,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> Thinned:
    """Drop the versions that no rule keeps. A store that has none is only read.

    Parameters
    ----------
    store
        The store.
    rules
        What to keep.
    now
        The present, aware.
    zone
        Where days begin; None: where this machine is.
    dry_run, timeout, progress, disk
        As of `vh5d.prune`.

    Raises
    ------
    StoreError
        The store cannot be used, or not now; it is as it was.
    """
    with open_store(store, timeout=timeout) as reader:
        versions = tuple(reader.versions)
    verdicts = tuple(judge(versions, rules, now=now, zone=zone))
    going = {verdict.name for verdict in verdicts if not verdict.kept}
    if not going:
        return Thinned(store, versions, verdicts, None)
    # Somebody may have dropped some of them meanwhile, which is well.
    result = prune(
        store,
        lambda version: version.name in going,
        dry_run=dry_run,
        tagged=not rules.keep_tagged,
        timeout=timeout,
        progress=progress,
        disk=disk,
    )
    return Thinned(store, versions, verdicts, result)
