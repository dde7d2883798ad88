"""How many captures of a policy are at work at a time, on all hosts together.

Keys, all below `vh5d:`::

    places:<policy>   sorted set of paths by the time their place is free again
    line:<policy>     sorted set of paths that found no place, by the time since when they wait

A place is a lease, renewed while the capture is at work: whoever dies gives it back. Whoever
leaves calls some of the line, whose captures are then asked for again; those that find no place
once more keep their turn.
"""

from __future__ import annotations

from typing import Any

import redis

PREFIX = "vh5d:"
#: Called at a time for each place that there is, and besides: a call takes a moment to be heard.
_CALLED, _BESIDES = 2, 8

# One step for the broker, so that two hosts cannot both take the last place.
_TAKE = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZSCORE', KEYS[1], ARGV[3])
    or redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
  redis.call('ZADD', KEYS[2], 'NX', ARGV[5], ARGV[3])
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[3])
return 1
"""


def take(
    client: redis.Redis,
    policy: str,
    path: str,
    now: float,
    *,
    since: float,
    lease: float,
    most: int,
) -> bool:
    """Take a place; False: there are `most` at work, or `path` itself, and it stands in line.

    Parameters
    ----------
    since
        When it began to wait: its turn.
    lease
        Seconds that the place is its own without a word.
    """
    keys = (_places(policy), _line(policy))
    told = (str(now), str(now + lease), path, str(most), str(since))
    taken: Any = client.eval(_TAKE, len(keys), *keys, *told)
    return bool(taken)


def renew(pipeline: redis.client.Pipeline, policy: str, path: str, until: float) -> None:
    """It is at work; nothing if it has no place."""
    pipeline.zadd(_places(policy), {path: until}, xx=True)


def leave(client: redis.Redis, policy: str, path: str, most: int = 1) -> list[str]:
    """Give a place back; who is called now."""
    client.zrem(_places(policy), path)
    called: Any = client.zpopmin(_line(policy), _CALLED * most + _BESIDES)
    return [str(each) for each, _ in called]


def stood(client: redis.Redis, policy: str) -> tuple[int, int]:
    """How many have a place, and how many stand in line."""
    return int(client.zcard(_places(policy))), int(client.zcard(_line(policy)))


def _places(policy: str) -> str:
    return f"{PREFIX}places:{policy}"


def _line(policy: str) -> str:
    return f"{PREFIX}line:{policy}"
