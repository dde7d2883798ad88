"""Files that are gone from where they were, and may turn up elsewhere.

A file that is moved from one watched directory to another is deleted in the one and new in the
other, as far as anybody tells. It is still the same file: inode, size and time of modification.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from vh5d.service.catalog import FileStat

#: Seconds that a file may be on its way.
KEPT = 24 * 3600


def note(pipeline: redis.client.Pipeline, stat: FileStat | None, name: str) -> None:
    """A file that was last dealt with in this state is gone; `name` is what the queue calls it."""
    if stat is not None:
        told = json.dumps([name, stat.size, stat.mtime_ns])
        pipeline.set(_key(stat), told, ex=KEPT)


def find(client: redis.Redis, stat: FileStat) -> str | None:
    """The name under which a file of this state is gone, told once."""
    said: Any = client.get(_key(stat))
    if said is None:
        return None
    name, *state = json.loads(said)
    # The next file gets the inode of one that was deleted.
    if state != [stat.size, stat.mtime_ns]:
        return None
    client.delete(_key(stat))
    return str(name)


def _key(stat: FileStat) -> str:
    return f"vh5d:departed:{stat.device}:{stat.inode}"
