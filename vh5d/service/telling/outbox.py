"""Messages to be sent: in Redis, so that none is lost or sent twice when a sender dies.

Keys, all below `vh5d:`::

    outbox:<policy>   sorted set of letters by the time they are to be sent
    letter:<id>       what a letter says, JSON
    quiet:<what>      a letter of this kind was sent: no other until it expires
    held:<what>       how many were not sent for that
    told              hash of counters: "policy kind result"

A letter that is being sent stays in the set, with the time at which its sender counts as dead.
Only those take a policy's letters who have it in their configuration: it says how to send them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import redis
import structlog

from vh5d.policy.notifications import Kind

PREFIX = "vh5d:"
#: Seconds between two attempts, doubled for each that failed, and the longest.
FIRST_PAUSE = 10.0
LONGEST_PAUSE = 3600.0
#: Attempts to send a letter: the last is some eight hours after the first.
MOST_ATTEMPTS = 15
#: Seconds that a letter is kept at most: it was sent or given up long before.
KEPT = 3 * 86400

log = structlog.stdlib.get_logger(__name__)

Result = Literal["sent", "failed", "held"]
Way = Literal["after_capture", "on_failure", "notify"]


@dataclass(frozen=True)
class Letter:
    """Something to tell somebody.

    Parameters
    ----------
    id
        Of the event and who is told.
    way
        A hook, or a notification: the one at `index` in the policy, which says how to send it.
        The letter does not, so that no secret lies in Redis.
    kind
        What it is about.
    event
        What happened.
    held
        How many of the kind were not told of since the letter before.
    """

    id: str
    policy: str
    way: Way
    kind: Kind | Literal["captured", "failed"]
    event: dict[str, Any] = field(default_factory=dict)
    index: int = 0
    attempts: int = 0
    held: int = 0


class Outbox:
    """Letters that wait; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def may(self, letter: str, what: str, at_most: float) -> int | None:
        """Whether a letter about `what` may be sent: how many were held back; None: not now."""
        quiet, held = f"{PREFIX}quiet:{what}", f"{PREFIX}held:{what}"
        free = self._client.set(quiet, letter, nx=True, px=max(1, int(at_most * 1000)))
        if free or self._client.get(quiet) == letter:
            number: Any = self._client.getdel(held)
            return int(number or 0)
        self._client.incr(held)
        self._client.expire(held, KEPT)
        return None

    def put(self, pipeline: redis.client.Pipeline, letter: Letter, now: float) -> None:
        """Have it sent."""
        pipeline.set(f"{PREFIX}letter:{letter.id}", json.dumps(asdict(letter)), ex=KEPT)
        pipeline.zadd(_place(letter.policy), {letter.id: now})

    def take(self, policies: Sequence[str], now: float, lease: float) -> Letter | None:
        """One of these policies that is due; it is nobody else's for `lease` seconds."""
        places = list(map(_place, policies))
        found: Any = self._client.eval(_TAKE, len(places), *places, str(now), str(now + lease))
        if found is None:
            return None
        place, due = found
        text: Any = self._client.get(f"{PREFIX}letter:{due}")
        if text is None:
            self._client.zrem(place, due)
            return None
        try:
            letter = Letter(**json.loads(text))
        except (TypeError, ValueError):
            letter = None
        if letter is None or _place(letter.policy) != place:
            self._client.zrem(place, due)
            log.error("not a letter of ours", letter=str(due)[:100])
            return None
        return letter

    def done(self, letter: Letter, result: Result) -> None:
        """It was sent, or given up."""
        pipeline = self._client.pipeline()
        pipeline.zrem(_place(letter.policy), letter.id)
        pipeline.delete(f"{PREFIX}letter:{letter.id}")
        self.count(pipeline, letter.policy, letter.kind, result)
        pipeline.execute()

    def again(self, letter: Letter, now: float) -> bool:
        """It could not be sent: later; False: that was the last time."""
        attempts = letter.attempts + 1
        if attempts >= MOST_ATTEMPTS:
            self.done(letter, "failed")
            return False
        pause = min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)
        text = json.dumps({**asdict(letter), "attempts": attempts})
        pipeline = self._client.pipeline()
        pipeline.set(f"{PREFIX}letter:{letter.id}", text, ex=KEPT)
        pipeline.zadd(_place(letter.policy), {letter.id: now + pause}, xx=True)
        pipeline.execute()
        return True

    def count(
        self, pipeline: redis.client.Pipeline, policy: str, kind: str, result: Result
    ) -> None:
        """Count what came of one."""
        pipeline.hincrby(PREFIX + "told", f"{policy} {kind} {result}", 1)


# One step for the broker, so that two senders do not take the same letter.
_TAKE = """
for _, place in ipairs(KEYS) do
  local due = redis.call('ZRANGE', place, '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1)
  if #due > 0 then
    redis.call('ZADD', place, ARGV[2], due[1])
    return {place, due[1]}
  end
end
return false
"""


def waiting(client: redis.Redis, policies: Iterable[str]) -> int:
    """How many letters of these policies wait."""
    return sum(int(client.zcard(_place(policy))) for policy in policies)


def _place(policy: str) -> str:
    return f"{PREFIX}outbox:{policy}"


def counts(client: redis.Redis) -> dict[tuple[str, ...], int]:
    """How many letters were sent, by policy, kind and result."""
    found: Any = client.hgetall(PREFIX + "told")
    return {tuple(name.split(" ")): int(number) for name, number in found.items()}
