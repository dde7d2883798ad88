"""What the stores of a policy take, and whether there is room for more (`limits.store_quota`).

Keys, all below `vh5d:`::

    usage         hash: policy to what its stores took when they were measured last, JSON
    usage:added   hash: policy to the bytes that captures brought since

Measuring looks at every store, so it is done now and then, and always before a capture is refused.
A capture itself thins nothing: it asks for a round of maintenance (`vh5d.service.stores.upkeep`),
comes back, and is refused when that did not help.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import redis
import structlog

from vh5d.errors import QuotaError, StoreBusyError
from vh5d.policy import Policy
from vh5d.policy.units import format_size
from vh5d.service.stores.upkeep import PREFIX, Record, Upkeep

_USAGE, _ADDED = f"{PREFIX}usage", f"{PREFIX}usage:added"
#: Seconds that a measurement is believed; while the quota is reached, and otherwise.
FRESH, STALE = 5.0, 300.0
#: Measuring takes at most this part of the time.
SHARE = 0.05
#: Seconds between two rounds of maintenance that are asked for, and for one to begin and to end.
ASK_PAUSE = 600.0
BEGIN_TIMEOUT, ROUND_TIMEOUT = 60.0, 3600.0
#: Seconds before a refused capture is tried again.
RETRY_PAUSE = 60.0

Decision = Literal["admit", "ask", "wait", "refuse"]

log = structlog.stdlib.get_logger(__name__)


def measure(policy: Policy) -> int:
    """Return how many bytes a policy's stores take on their disks."""
    from vh5d.service.stores.maintenance import stores_of  # and with it h5py, which no reader needs

    taken = 0
    for store in stores_of(policy):
        try:
            taken += store.stat().st_blocks * 512  # stat(2): in units of 512 bytes
        except OSError:
            continue  # it was removed just now
    return taken


def decide(used: int, quota: int, record: Record, *, can_thin: bool, now: float) -> Decision:
    """Say what to do about a capture.

    Parameters
    ----------
    used, quota
        Bytes.
    record
        The last round of maintenance.
    can_thin
        Whether one may make room.
    now
        Seconds since the epoch.
    """
    if used < quota:
        return "admit"
    if not can_thin:
        return "refuse"
    asked, begun = record.asked, record.begun
    if asked is None or not 0 <= now - asked <= ASK_PAUSE:
        under_way = begun is not None and not record.finished and now - begun < ROUND_TIMEOUT
        return "wait" if under_way and asked is not None else "ask"
    if begun is None or begun < asked:
        return "wait" if now - asked < BEGIN_TIMEOUT else "refuse"
    return "refuse" if record.finished or now - begun > ROUND_TIMEOUT else "wait"


@dataclass(frozen=True)
class _Usage:
    nbytes: int
    at: float
    seconds: float


class Quota:
    """Guards the quotas of policies; every method may raise `redis.RedisError`.

    Parameters
    ----------
    client
        Of the broker.
    clock
        Seconds since the epoch, the same on all hosts.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], float]) -> None:
        self._client = client
        self._upkeep = Upkeep(client, clock)

    def admit(self, policy: Policy) -> None:
        """Return if there is room for a capture.

        Raises
        ------
        QuotaError
            There is none, and thinning does not make any, or not now.
        StoreBusyError
            The stores are being thinned: come back.
        """
        quota = policy.limits.store_quota
        if quota is None:
            return
        used = self.used(policy, fresh=False)
        if used >= quota:
            used = self.used(policy, fresh=True)
        decision = self._decide(policy, used, quota)
        if decision == "ask":
            self._ask(policy, used, quota)
        if decision in {"ask", "wait"}:
            raise StoreBusyError(f"the stores of policy {policy.name!r} are thinned first: quota")
        if decision == "refuse":
            raise QuotaError(
                f"the stores of policy {policy.name!r} take {format_size(used)} of "
                f"{format_size(quota)} (limits.store_quota): no capture",
                hint="drop versions (`vh5d prune`), keep fewer, or raise the quota",
            )

    def added(self, policy: Policy, nbytes: int) -> None:
        """A capture has brought so many bytes; have the stores thinned if that was too much."""
        quota = policy.limits.store_quota
        if quota is None:
            return
        self._client.hincrby(_ADDED, policy.name, nbytes)
        if self.used(policy, fresh=False) < quota:
            return
        used = self.used(policy, fresh=True)
        if self._decide(policy, used, quota) == "ask":
            self._ask(policy, used, quota)

    def used(self, policy: Policy, *, fresh: bool) -> int:
        """Return what a policy's stores take, as far as is known, or measured anew."""
        said: Any = self._client.hget(_USAGE, policy.name)
        now = self._upkeep.now()
        if said is not None:
            known = _Usage(**json.loads(said))
            believed = max(FRESH if fresh else STALE, known.seconds / SHARE)
            if 0 <= now - known.at < believed:
                added: Any = self._client.hget(_ADDED, policy.name)
                return known.nbytes + int(added or 0)
        return self._measure(policy, now)

    def last_used(self, policy: str) -> int | None:
        """Return what a policy's stores took when they were measured, and were given since."""
        said: Any = self._client.hget(_USAGE, policy)
        if said is None:
            return None
        added: Any = self._client.hget(_ADDED, policy)
        return int(json.loads(said)["nbytes"]) + int(added or 0)

    def _measure(self, policy: Policy, now: float) -> int:
        # What is brought meanwhile is counted twice rather than not at all.
        self._client.hset(_ADDED, policy.name, 0)
        started = time.monotonic()
        nbytes = measure(policy)
        usage = {"nbytes": nbytes, "at": now, "seconds": time.monotonic() - started}
        self._client.hset(_USAGE, policy.name, json.dumps(usage))
        return nbytes

    def _decide(self, policy: Policy, used: int, quota: int) -> Decision:
        can_thin = policy.limits.on_quota == "prune" and policy.retention is not None
        record = self._upkeep.record(policy.name)
        return decide(used, quota, record, can_thin=can_thin, now=self._upkeep.now())

    def _ask(self, policy: Policy, used: int, quota: int) -> None:
        log.warning("over the quota, thinning", policy=policy.name, bytes=used, quota=quota)
        self._upkeep.ask(policy.name)
