"""A round of maintenance: the stores of a policy are thinned by its retention, one after another.

Only one store is locked at a time, and captures go on in all others; one that meets the store at
work comes back. Whatever interrupts a round, each store is as before or thinned.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
import structlog

from vh5d.errors import NotAStoreError, StoreBusyError, StoreError, StoreMissingError, VH5DError
from vh5d.hdf5.disk import Disk
from vh5d.policy import Policy
from vh5d.policy.places import files_of_stores, is_here
from vh5d.policy.retention_settings import Retention
from vh5d.service.catalog import statistics
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.stores.thinning import Thinned, owner, thin
from vh5d.service.stores.upkeep import Lease, Record, Upkeep
from vh5d.store.compact import CompactResult, compact

#: Seconds to wait for a store that somebody uses, the first time and the second.
PATIENCE = (2.0, 30.0)
#: A store is rewritten if holes leave so much of it unused, in bytes and in parts of the whole.
LEAST_RETURNED = 1 << 18
LEAST_PART = 0.2
#: Names that an event lists.
NAMES_TOLD = 100

_OURS = ("-journal", ".lock")

log = structlog.stdlib.get_logger(__name__)


def stores_of(policy: Policy) -> Iterator[Path]:
    """Yield every file that is where a store of the policy would be."""
    for path in files_of_stores([policy]):
        if not path.name.endswith(_OURS):
            yield path


@dataclass
class Round:
    """Thins the stores of policies, and records what came of it.

    Parameters
    ----------
    catalog
        Where to record.
    present
        The clock on the wall: ages and days go by it.
    policies
        All of the configuration: a store is thinned by the one that keeps it.
    halted
        Whether to stop before the next store.
    disk
        What reads and writes stores.
    """

    catalog: Catalog
    present: Callable[[], datetime]
    policies: Sequence[Policy] = ()
    halted: Callable[[], bool] = lambda: False
    disk: Disk | None = None
    _failed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.upkeep = Upkeep(self.catalog.client, self.catalog.now)

    def run(self, policy: Policy, due: float | None) -> Record | None:
        """Thin all stores of a policy.

        Parameters
        ----------
        policy
            Has a retention.
        due
            For which night; None: somebody asked for it.

        Returns
        -------
        What came of it; None: somebody else is at it, or this host does not see the stores.
        """
        rules = policy.retention
        if rules is None or not is_here(policy):
            return None
        with self.upkeep.lease(policy.name) as lease:
            if not lease.held:
                return None
            before = self.upkeep.record(policy.name)
            record = before.at_begin(due, self.upkeep.now(), socket.gethostname())
            self.upkeep.write(policy.name, record)
            self._failed = 0
            for done in self._thin_all(policy, rules, lease):
                record = replace(
                    record,
                    stores=record.stores + 1,
                    dropped=record.dropped + len(done.dropped),
                    bytes_returned=record.bytes_returned + done.bytes_returned,
                )
                if done.dropped:
                    self._tell(policy, done)
            if self._must_end(lease):
                log.warning("cut short", policy=policy.name, stores=record.stores)
                return record
            asked = self.upkeep.record(policy.name).asked
            ended = self.upkeep.now()
            record = replace(record, ended=ended, failed=self._failed, asked=asked)
            self.upkeep.write(policy.name, record)
        self._tell_end(policy, record)
        return record

    def _must_end(self, lease: Lease) -> bool:
        return self.halted() or not lease.held

    def _thin_all(self, policy: Policy, rules: Retention, lease: Lease) -> Iterator[Thinned]:
        """Thin stores; those that somebody uses come last."""
        waiting = stores_of(policy)
        for patience in PATIENCE:
            last = patience == PATIENCE[-1]
            busy = []
            for store in waiting:
                if self._must_end(lease):
                    return
                lease.progress()
                try:
                    if owner(store, self.policies or [policy]) == policy:
                        yield self._thin(store, rules, patience)
                except (NotAStoreError, StoreMissingError) as error:
                    log.debug("passed over", store=str(store), reason=str(error))
                except StoreBusyError as error:
                    busy.append(store)
                    if last:
                        self._complain(policy, store, error)
                except (VH5DError, OSError) as error:
                    self._complain(policy, store, error)
            waiting = iter(busy)

    def _thin(self, store: Path, rules: Retention, patience: float) -> Thinned:
        done = thin(store, rules, now=self.present(), timeout=patience, disk=self.disk)
        if done.result is None:
            return done
        rewritten = self._rewrite(store, done.result.bytes_left, patience)
        if rewritten is None:
            return done
        returned = rewritten.bytes_before - rewritten.bytes_after
        result = replace(done.result, bytes_returned=done.result.bytes_returned + returned)
        return replace(done, result=result)

    def _rewrite(self, store: Path, unused: int, patience: float) -> CompactResult | None:
        """Rewrite a store if it is worth it and fits on the disk."""
        taken = store.stat().st_blocks * 512
        if unused < max(LEAST_RETURNED, LEAST_PART * taken):
            return None
        if shutil.disk_usage(store.parent).free < 2 * (taken - unused):
            log.warning("no room to rewrite it", store=str(store), bytes=taken - unused)
            return None
        try:
            return compact(store, timeout=patience, disk=self.disk)
        except StoreError as error:
            log.warning("not rewritten", store=str(store), reason=str(error))
            return None

    def _complain(self, policy: Policy, store: Path, error: VH5DError | OSError) -> None:
        self._failed += 1
        log.error("not thinned", policy=policy.name, store=str(store), error=str(error))
        self._note("not thinned", policy=policy.name, store=str(store), error=str(error))

    def _tell(self, policy: Policy, done: Thinned) -> None:
        about: dict[str, Any] = {
            "policy": policy.name,
            "store": str(done.store),
            "bytes_returned": done.bytes_returned,
        }
        log.info("thinned", versions=len(done.dropped), **about)
        names = list(done.dropped[:NAMES_TOLD])
        self._note("thinned", versions=len(done.dropped), names=names, **about)
        with contextlib.suppress(redis.RedisError):  # as it was logged
            client, dropped = self.catalog.client, len(done.dropped)
            statistics.count_dropped(client, policy.name, dropped, done.bytes_returned)

    def _tell_end(self, policy: Policy, record: Record) -> None:
        about: dict[str, Any] = {
            "policy": policy.name,
            "stores": record.stores,
            "versions": record.dropped,
            "bytes_returned": record.bytes_returned,
            "failed": record.failed,
        }
        log.info("maintained", **about)
        self._note("maintained", **about)

    def _note(self, event: str, **about: Any) -> None:
        try:
            self.catalog.tell(event, **about)
        except redis.RedisError as error:
            log.debug("not told", what=event, error=str(error))
