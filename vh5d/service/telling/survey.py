"""All sources at a glance: how many are where, what waits, what failed.

Redis itself collects the few fields that are needed (SORT … GET): a hundred thousand sources
take a second, reading each of them takes half a minute.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from vh5d.service.catalog import queues
from vh5d.service.catalog.records import PREFIX
from vh5d.service.catalog.source import State

#: Sources that one command collects: it keeps the server for some 50 ms.
BATCH = 50_000
#: States that somebody should look at.
BAD = (State.FAILED, State.QUOTA, State.TOO_LARGE, State.UNREADABLE, State.UNCLEAN)
_ON_THE_WAY = frozenset({State.SETTLING, State.QUEUED, State.CAPTURING})


@dataclass
class PolicySurvey:
    """The sources of one policy.

    Parameters
    ----------
    states
        How many there are in each.
    waiting_since
        When the capture was asked for that waits longest; None: none waits.
    """

    states: Counter[State] = field(default_factory=Counter)
    waiting_since: float | None = None

    @property
    def backlog(self) -> int:
        """Files that changed and are not captured yet."""
        return sum(self.states[state] for state in _ON_THE_WAY)


@dataclass
class Survey:
    """All sources, by policy; `bad` are the paths of those in a state of `BAD`."""

    policies: dict[str, PolicySurvey] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    @property
    def states(self) -> Counter[State]:
        """How many there are in each state, whatever their policy."""
        return sum((each.states for each in self.policies.values()), Counter())

    def of(self, policy: str) -> PolicySurvey:
        """One policy's; empty for one that has no sources."""
        return self.policies.get(policy) or PolicySurvey()


def survey(client: redis.Redis) -> Survey:
    """Look at all sources."""
    found = Survey()
    pending: dict[str, float] = {}
    for queue in queues.names(client):
        waiting: Any = client.zrange(queues.pending(queue), 0, -1, withscores=True)
        pending.update(waiting)
    for path, policy, state in rows(client, ("policy", "state")):
        one = found.policies.setdefault(policy or "", PolicySurvey())
        known = State(state or State.SETTLING)
        one.states[known] += 1
        if known in BAD:
            found.bad.append(path)
        since = pending.get(path)
        if since is not None and (one.waiting_since is None or since < one.waiting_since):
            one.waiting_since = since
    found.bad.sort()
    return found


def rows(client: redis.Redis, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Path and these fields of every source; the one that changed last comes last."""
    get = ["#", *(f"{PREFIX}source:*->{name}" for name in fields)]
    start = 0
    while True:
        key = PREFIX + "sources"
        batch: Any = client.sort(key, start, BATCH, by="nosort", get=get, groups=True)
        for path, *values in batch:
            yield (path, *(None if value is None else json.loads(value) for value in values))
        if len(batch) < BATCH:
            return
        start += BATCH


def newest(client: redis.Redis, count: int) -> list[str]:
    """Paths of the sources that changed last, the newest first."""
    found: Any = client.zrevrange(PREFIX + "sources", 0, count - 1)
    return [str(path) for path in found]
