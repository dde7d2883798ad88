"""What the broker or a worker lost is asked for again."""

from __future__ import annotations

from pathlib import Path

from vh5d.service.catalog import queues
from vh5d.service.catalog.captures import Captures
from vh5d.service.catalog.claims import Claims
from vh5d.service.catalog.queues import UNACKED
from vh5d.service.catalog.records import PREFIX, Records
from vh5d.service.catalog.retries import Retries
from vh5d.service.catalog.roster import LOST_AFTER, Roster
from vh5d.service.catalog.source import State

#: A worker that takes a message holds it unseen for a moment, in seconds: no longer than this.
UNSEEN = 5.0
#: Seconds that a message may be on its way, while a worker is at work on others.
LONGEST_WAY = 60.0


class Recovery:
    """Finds what was lost; every method may raise `redis.RedisError`.

    Parameters
    ----------
    records, retries, claims, captures
        Of the sources.
    roster
        Who is there.
    """

    def __init__(
        self,
        records: Records,
        retries: Retries,
        claims: Claims,
        captures: Captures,
        roster: Roster,
    ) -> None:
        self._records = records
        self._retries = retries
        self._claims = claims
        self._captures = captures
        self._roster = roster
        self._client = records.client

    def broker_is_new(self) -> bool:
        """Whether nobody asked this before: the broker begins with nothing, or lost all it had."""
        return bool(self._client.set(PREFIX + "known", 1, nx=True))

    def acknowledge(self, message: str) -> None:
        """A message was dealt with, which could not be told when it was (see kombu's `QoS`)."""
        pipeline = self._client.pipeline()
        pipeline.zrem(f"{UNACKED}_index", message)
        pipeline.hdel(UNACKED, message)
        pipeline.execute()

    def restart_queue(self) -> None:
        """Forget all messages and ask again for what they asked; only while no worker lives."""
        records = self._records
        again = [records.shared(s.path) for s in records.sources() if s.state is State.CAPTURING]
        again += queues.forget(self._client)
        self._retries.soon(again)
        self._roster.clear("workers")

    def of_messages(self) -> int:
        """Try again what waits in a queue that has nothing in it: its messages were lost.

        Taking a message and noting that it was taken are two commands (Redis transport of
        kombu); a crash between them loses it, and so does a broker that forgot. What a worker
        has taken may be of a worker that died: that is not believed for ever.
        """
        lost = queues.lost(self._client, self._records.now(), LONGEST_WAY, UNSEEN)
        self._retries.soon(lost)
        return len(lost)

    def of_workers(self) -> list[str]:
        """Try again what workers had taken that were lost; who they were."""
        lost = self._roster.bury("workers")
        if not lost:
            return []
        there = [each for each in self._roster.members("workers") if not each["lost"]]
        held = {message for worker in there for message in worker["held"]}
        # What it took in its last moment, it told nobody.
        before = self._records.now() - LOST_AFTER
        messages = queues.orphans(self._client, held, before)
        for worker in lost:
            messages |= worker["held"]
        hosts = ", ".join(sorted({str(worker["host"]) for worker in lost}))
        for message, name in messages.items():
            path = Path(self._records.local(name))
            self.acknowledge(message)
            self._claims.give_back(path)
            self._captures.cut_short(path, f"its worker was lost, on {hosts}")
            self._retries.soon([name], unless_known=True)
        return [str(worker["name"]) for worker in lost]
