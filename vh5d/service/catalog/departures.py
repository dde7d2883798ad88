"""Which file is which, whatever its name: so that one which turns up elsewhere is known again.

A file that is moved from one watched directory to another is deleted in the one and new in the
other, as far as anybody tells, and the second may be noticed first. It is still the same file:
inode, size and time of modification.
"""

from __future__ import annotations

import json
from typing import Any

import redis

from vh5d.service.catalog.source import FileStat

#: Seconds that a file is remembered after its last capture.
KEPT = 180 * 24 * 3600


def note(
    pipeline: redis.client.Pipeline, stat: FileStat, name: str, before: FileStat | None
) -> None:
    """A file was captured in this state; `name` is what the queue calls it.

    Parameters
    ----------
    before
        What it was at its capture before: perhaps another file, which it took the place of.
    """
    if before is not None and _key(before) != _key(stat):
        pipeline.delete(_key(before))
    pipeline.set(_key(stat), json.dumps([name, stat.size, stat.mtime_ns]), ex=KEPT)


def find(client: redis.Redis, stat: FileStat) -> str | None:
    """The name under which a file of this state was captured last."""
    said: Any = client.get(_key(stat))
    if said is None:
        return None
    name, *state = json.loads(said)
    # The next file gets the inode of one that was deleted.
    return str(name) if state == [stat.size, stat.mtime_ns] else None


def _key(stat: FileStat) -> str:
    return f"vh5d:inode:{stat.device}:{stat.inode}"
