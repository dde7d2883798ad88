"""What processes of a service say of their configuration, for `vh5d status`."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import redis

from vh5d.service.catalog.records import PREFIX

#: Seconds that a notice outlives its last repetition, and seconds between two.
KEPT = 180
REPEATED = 60.0


class Notices:
    """Notices of this process.

    Parameters
    ----------
    client
        Every method may raise `redis.RedisError`.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._key = f"{PREFIX}refused:{socket.gethostname()}:{os.getpid()}"

    def tell(self, file: str, reason: str | None) -> None:
        """Say why the newest state of a configuration file is not in force; None: it is."""
        if reason is None:
            self._redis.delete(self._key)
            return
        told = {"file": file, "reason": reason, "host": socket.gethostname(), "pid": os.getpid()}
        self._redis.set(self._key, json.dumps(told), ex=KEPT)


def refusals(client: redis.Redis) -> list[dict[str, Any]]:
    """All notices of configurations that were refused: `file`, `reason`, `host`, `pid`."""
    found = []
    for key in client.scan_iter(match=f"{PREFIX}refused:*", count=500):
        said: Any = client.get(key)
        if said:
            found.append(json.loads(said))
    return sorted(found, key=lambda each: (each["file"], each["host"], each["pid"]))
