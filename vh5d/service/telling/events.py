"""What happened: the catalog's stream of events, from an hour ago or as it comes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import redis

from vh5d.service.catalog.records import PREFIX

STREAM = PREFIX + "events"
#: Milliseconds that one wait for the next event lasts; events that are read at once.
WAIT = 500
BATCH = 500
#: Seconds before a broker that is away is asked again.
PAUSE = 1.0

_TIMES = ("at", "next_try")


def since(client: redis.Redis, seconds: float) -> Iterator[dict[str, Any]]:
    """Events of the last `seconds`, oldest first; by the broker's clock."""
    now: Any = client.time()
    start = str(max(0, int((now[0] - seconds) * 1000)))
    while True:
        entries: Any = client.xrange(STREAM, min=start, count=BATCH)
        yield from map(_readable, entries)
        if len(entries) < BATCH:
            return
        start = f"({entries[-1][0]}"


def last(
    client: redis.Redis, count: int, wanted: Callable[[dict[str, Any]], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """The last `count` events that are `wanted`, oldest first."""
    found: list[dict[str, Any]] = []
    before = "+"
    while len(found) < count:
        entries: Any = client.xrevrange(STREAM, max=before, count=BATCH)
        events = map(_readable, entries)
        found += islice(filter(wanted, events), count - len(found))
        if len(entries) < BATCH:
            break
        before = f"({entries[-1][0]}"
    return found[::-1]


def follow(
    client: redis.Redis, after: str, wait: Callable[[float], object]
) -> Iterator[dict[str, Any]]:
    """Events after the one of this id, as they come, for ever.

    Parameters
    ----------
    wait
        Sleeps, when the broker is away: it is asked again.
    """
    while True:
        try:
            answer: Any = client.xread({STREAM: after}, count=BATCH, block=WAIT)
        except redis.RedisError:
            wait(PAUSE)
            continue
        for _, entries in answer or ():
            yield from map(_readable, entries)
            after = entries[-1][0]


def end(client: redis.Redis) -> str:
    """The id of the last event, to follow from there."""
    entries: Any = client.xrevrange(STREAM, count=1)
    return str(entries[0][0]) if entries else "0"


def _readable(entry: tuple[str, dict[str, str]]) -> dict[str, Any]:
    """An event with its id, its times in ISO 8601."""
    identifier, values = entry
    content = json.loads(values["event"])
    for name in _TIMES:
        if isinstance(content.get(name), int | float):
            moment = datetime.fromtimestamp(content[name], UTC)
            content[name] = moment.isoformat(timespec="milliseconds")
    return {"id": identifier, **content}
