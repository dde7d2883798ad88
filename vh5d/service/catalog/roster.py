"""Who is there: every watcher and worker says so every few seconds, and what it is doing.

Keys, all below `vh5d:`::

    watchers, workers   hashes: name to what it last said of itself, JSON

Whoever ends in order takes its entry along. Whoever falls silent is *lost*: what it had at work
is asked for again, and its entry says so for an hour.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Callable
from typing import Any, Literal

import redis

import vh5d

PREFIX = "vh5d:"
#: Seconds between two words of a member, of which three may be missed.
BEAT = 5.0
LOST_AFTER = 20.0
#: Seconds that a lost member is remembered.
KEPT = 3600.0

Kind = Literal["watchers", "workers"]


class Roster:
    """All watchers and workers; every method may raise `redis.RedisError`.

    Parameters
    ----------
    client, clock
        Of the broker.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock

    def tell(self, kind: Kind, name: str, about: dict[str, Any]) -> None:
        """`name` is there; what else is to be said of it."""
        said = json.dumps({**about, "at": self._clock()})
        self._client.hset(PREFIX + kind, name, said)

    def leave(self, kind: Kind, name: str) -> None:
        """`name` ends in order."""
        self._client.hdel(PREFIX + kind, name)

    def members(self, kind: Kind) -> list[dict[str, Any]]:
        """All that are there, or were lost not long ago, by their names.

        `silent` is for how many seconds it was not heard of, `lost` whether that is too long.
        """
        now, found = self._clock(), []
        told: Any = self._client.hgetall(PREFIX + kind)
        for name, said in sorted(told.items()):
            about = json.loads(said)
            silent = max(0.0, now - float(about["at"]))
            lost = silent > LOST_AFTER
            found.append({"name": name, **about, "silent": silent, "lost": lost})
        return found

    def bury(self, kind: Kind) -> list[dict[str, Any]]:
        """Those who were lost since this was last asked, by anybody."""
        lost = []
        for member in self.members(kind):
            name = member["name"]
            if member["silent"] > KEPT:
                self._client.hdel(PREFIX + kind, name)
            elif member["lost"] and self._client.set(
                f"{PREFIX}buried:{name}:{member['at']}", 1, nx=True, ex=int(2 * KEPT)
            ):
                lost.append(member)
        return lost

    def clear(self, kind: Kind) -> None:
        """None of them lives."""
        self._client.delete(PREFIX + kind)


def identity() -> dict[str, Any]:
    """What this process says of itself; `name` tells it from all others."""
    host, pid = socket.gethostname(), os.getpid()
    name = f"{host}:{pid}:{secrets.token_hex(3)}"
    return {"name": name, "host": host, "pid": pid, "version": vh5d.__version__}
