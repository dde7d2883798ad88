"""Messages to be sent: in Redis, so that none is lost or sent twice when a sender dies.

Keys, all below `vh5d:`::

    outbox          sorted set of letters by the time they are to be sent
    letter:<id>     what a letter says, JSON
    quiet:<what>    a letter of this kind was sent: no other until it expires
    held:<what>     how many were not sent for that
    told            hash of counters: "policy kind result"

A letter that is being sent stays in the set, with the time at which its sender counts as dead.
"""

from __future__ import annotations

import json
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
        pipeline.zadd(PREFIX + "outbox", {letter.id: now})

    def take(self, now: float, lease: float) -> Letter | None:
        """One that is due; it is nobody else's for `lease` seconds."""
        due: Any = self._client.eval(_TAKE, 1, PREFIX + "outbox", str(now), str(now + lease))
        if due is None:
            return None
        text: Any = self._client.get(f"{PREFIX}letter:{due}")
        if text is None:
            self._client.zrem(PREFIX + "outbox", due)
            return None
        try:
            return Letter(**json.loads(text))
        except (TypeError, ValueError):
            self._client.zrem(PREFIX + "outbox", due)
            log.error("not a letter of ours", letter=str(due)[:100])  # noqa: TRY400 - who cares where
            return None

    def done(self, letter: Letter, result: Result) -> None:
        """It was sent, or given up."""
        pipeline = self._client.pipeline()
        pipeline.zrem(PREFIX + "outbox", letter.id)
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
        pipeline.zadd(PREFIX + "outbox", {letter.id: now + pause}, xx=True)
        pipeline.execute()
        return True

    def count(
        self, pipeline: redis.client.Pipeline, policy: str, kind: str, result: Result
    ) -> None:
        """Count what came of one."""
        pipeline.hincrby(PREFIX + "told", f"{policy} {kind} {result}", 1)


# One step for the broker, so that two senders do not take the same letter.
_TAKE = """
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1)
if #due == 0 then return false end
redis.call('ZADD', KEYS[1], ARGV[2], due[1])
return due[1]
"""


def waiting(client: redis.Redis) -> int:
    """How many letters wait."""
    return int(client.zcard(PREFIX + "outbox"))


def counts(client: redis.Redis) -> dict[tuple[str, ...], int]:
    """How many letters were sent, by policy, kind and result."""
    found: Any = client.hgetall(PREFIX + "told")
    return {tuple(name.split(" ")): int(number) for name, number in found.items()}
