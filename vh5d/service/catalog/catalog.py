"""What the service knows of every source, in Redis: a cache that can be rebuilt from the stores.

Who says what, and where it is kept:

- `records` has the sources and the events, which everything else changes and tells;
- `sightings` are what is seen of files and roots, by those who look at the disk;
- `claims` are the places in the queues (`queues`), taken when a capture is asked for;
- `captures` are what workers say of attempts, which count in `statistics` and have `places`;
- `retries` are captures to be tried again, and the leases of those at work;
- `recovery` finds what the broker or a worker lost, by the `roster` of who is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from vh5d.policy.path_maps import PathMaps
from vh5d.service.catalog import queues
from vh5d.service.catalog.captures import Captures
from vh5d.service.catalog.claims import Claims
from vh5d.service.catalog.queues import UNACKED
from vh5d.service.catalog.records import Records
from vh5d.service.catalog.recovery import Recovery
from vh5d.service.catalog.retries import Retries
from vh5d.service.catalog.roster import Roster
from vh5d.service.catalog.sightings import Sightings


class Catalog(Records):
    """The records of the sources, and all who change them.

    Parameters
    ----------
    client, clock, maps
        As of `Records`.
    """

    def __init__(
        self,
        client: redis.Redis,
        clock: Callable[[], float] | None = None,
        maps: PathMaps | None = None,
    ) -> None:
        super().__init__(client, clock, maps)
        # Not the catalog itself: a cycle would keep connections open until it is collected.
        records = Records(client, self._clock, maps)
        self.roster = Roster(client, self._clock)
        self.retries = Retries(records)
        self.sightings = Sightings(records, self.retries)
        self.claims = Claims(records, self.retries)
        self.captures = Captures(records, self.retries, self.claims)
        self.recovery = Recovery(records, self.retries, self.claims, self.captures, self.roster)

    def queue(self) -> dict[str, int]:
        """Captures that wait, and captures that a worker has."""
        taken = self.client.hlen(UNACKED)
        return {"waiting": sum(queues.waiting(self.client).values()), "running": int(taken)}

    def queues(self) -> dict[str, dict[str, Any]]:
        """By queue, how many captures wait, and for how many seconds the oldest, if any waits."""
        now = self.now()
        waited = {queue: max(0.0, now - at) for queue, at in queues.oldest(self.client).items()}
        return {
            queue: {"waiting": waiting, "oldest_waiting": waited.get(queue)}
            for queue, waiting in queues.waiting(self.client).items()
        }
