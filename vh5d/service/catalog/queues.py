"""The queues in Redis: which there are, what waits in them, what was asked for and not begun.

Keys, all below `vh5d:`::

    queues            set of all queues that a capture was ever put into
    <queue>           list of messages, of kombu; one more for each step of priority but the first
    pending:<queue>   sorted set of paths by the time their capture was put into the queue
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable
from typing import Any, Literal

import redis

PREFIX = "vh5d:"
#: The queue of policies that name none; kombu keeps unacknowledged messages beside it.
QUEUE = "captures"
UNACKED = f"{PREFIX}unacked"
#: kombu's: a list for each step, the lowest first, named with a separator of its own
#: (`Channel.sep` and `PRIORITY_STEPS` of its Redis transport).
STEPS = (0, 3, 6, 9)
_SEPARATOR = "\x06\x16"
_BATCH = 500

Priority = Literal["high", "normal", "low"]
PRIORITIES: dict[Priority, int] = {"high": 0, "normal": 3, "low": 6}


def messages(queue: str) -> list[str]:
    """The lists that hold its messages."""
    steps = (f"{_SEPARATOR}{step}" if step else "" for step in STEPS)
    return [f"{PREFIX}{queue}{step}" for step in steps]


def pending(queue: str) -> str:
    """The set of what was asked for."""
    return f"{PREFIX}pending:{queue}"


def names(client: redis.Redis) -> list[str]:
    """All queues, sorted."""
    found: Any = client.smembers(f"{PREFIX}queues")
    return sorted({QUEUE, *map(str, found)})


def waiting(client: redis.Redis) -> dict[str, int]:
    """Messages in each queue."""
    queues = names(client)
    pipeline = client.pipeline(transaction=False)
    for queue in queues:
        for key in messages(queue):
            pipeline.llen(key)
    lengths = [int(length) for length in pipeline.execute()]
    each = len(STEPS)
    return {queue: sum(lengths[each * i : each * i + each]) for i, queue in enumerate(queues)}


def oldest(client: redis.Redis) -> dict[str, float]:
    """When what waits longest in each queue was asked for; queues without are left out."""
    found: dict[str, float] = {}
    for queue in names(client):
        first: Any = client.zrange(pending(queue), 0, 0, withscores=True)
        if first:
            found[queue] = float(first[0][1])
    return found


def claim(client: redis.Redis, queue: str, path: str, now: float) -> bool:
    """Take the one place in a queue that a file has."""
    pipeline = client.pipeline(transaction=False)
    pipeline.sadd(f"{PREFIX}queues", queue)
    pipeline.zadd(pending(queue), {path: now}, nx=True)
    return bool(pipeline.execute()[1])


def lost(client: redis.Redis, now: float, way: float, unseen: float) -> list[str]:
    """What was asked for, and not begun, and has no message in its queue; not any more.

    Messages are taken in the order in which they came: one that was asked for before the one whose
    turn is next has none. Where something always waits, that is all that can be told.

    Parameters
    ----------
    way, unseen
        Seconds that a message may be on its way while there are others, and while there are none.
    """
    at_work = client.hlen(UNACKED)
    found: list[str] = []
    for queue, messages_in_it in waiting(client).items():
        since = now - (way if at_work or messages_in_it else unseen)
        if messages_in_it:
            since = min(since, _turn(client, queue) - unseen)
        paths: Any = client.zrange(
            pending(queue), "-inf", str(since), byscore=True, offset=0, num=_BATCH
        )
        if paths:
            client.zrem(pending(queue), *paths)
            found += map(str, paths)
    return found


def _turn(client: redis.Redis, queue: str) -> float:
    """When the messages that are taken next were asked for: the first of those of each step."""
    pipeline = client.pipeline(transaction=False)
    for key in messages(queue):
        pipeline.lindex(key, -1)
    paths = [_path_in(content) for content in pipeline.execute() if content is not None]
    if not paths or None in paths:
        return 0.0
    scores: Any = client.zmscore(pending(queue), [path for path in paths if path is not None])
    return min((0.0 if score is None else float(score) for score in scores), default=0.0)


def _path_in(content: str) -> str | None:
    """The path in a message of kombu's."""
    with contextlib.suppress(ValueError, TypeError, LookupError):
        return str(json.loads(base64.b64decode(json.loads(content)["body"]))[0][0])
    return None


def orphans(client: redis.Redis, held: Iterable[str], before: float) -> dict[str, str]:
    """Messages that were taken before a time and that nobody says to hold, with their paths.

    Parameters
    ----------
    held
        What workers hold that are there.
    """
    taken: Any = client.zrange(f"{UNACKED}_index", "-inf", str(before), byscore=True)
    left = sorted(set(map(str, taken)) - set(held))
    contents: Any = client.hmget(UNACKED, left) if left else []
    found = {}
    for tag, content in zip(left, contents, strict=True):
        with contextlib.suppress(ValueError, TypeError, LookupError):
            message = json.loads(content)[0]
            arguments = json.loads(base64.b64decode(message["body"]))[0]
            found[tag] = str(arguments[0])
    return found


def forget(client: redis.Redis) -> list[str]:
    """Drop all messages; what they asked for."""
    queues = names(client)
    asked: list[str] = []
    for queue in queues:
        found: Any = client.zrange(pending(queue), 0, -1)
        asked += map(str, found)
    keys: Iterable[str] = (key for queue in queues for key in (*messages(queue), pending(queue)))
    client.delete(UNACKED, f"{UNACKED}_index", *keys)
    return asked
