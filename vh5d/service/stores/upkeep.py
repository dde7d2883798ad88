"""What is known of the upkeep of stores: when each policy's were thinned last, and by whom.

Keys, all below `vh5d:`::

    upkeep                 hash: policy to a `Record`, JSON
    upkeep:lease:<policy>  who is at it; ends by itself when nobody renews it

One host thins the stores of a policy, whichever comes first and sees them; the others find them
done. What the broker forgets is done once more, which changes nothing.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from datetime import time as time_of_day
from types import TracebackType
from typing import Any, Self

import redis

PREFIX = "vh5d:"
_KEY = f"{PREFIX}upkeep"
#: Seconds that a lease lasts without being renewed.
LEASE = 60.0
#: Seconds that one store may take: who is longer at it hangs, and somebody else may go on.
LONGEST_STORE = 4 * 3600.0
#: A night whose round was cut short so often is given up until the next.
MOST_ATTEMPTS = 3
_DAY_S = 86400.0
#: Both in one step, so that nobody's but our own lease is touched.
_RENEW = (
    "local l = redis.call('get', KEYS[1]) "
    "if l and l ~= ARGV[1] then return 0 end "
    "redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2]) return 1"
)
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end"


@dataclass(frozen=True)
class Record:
    """The last round of one policy; times in seconds since the epoch.

    Attributes
    ----------
    due
        When the night was whose round it was, by the clock on the wall.
    attempts
        Rounds that were begun for that night.
    asked
        When somebody last asked for a round out of turn: a quota was reached.
    begun, ended, host
        The round, and where; one that did not end was cut short.
    stores, dropped, bytes_returned, failed
        Stores looked at, versions dropped, what came back; stores that could not be thinned.
    """

    due: float | None = None
    attempts: int = 0
    asked: float | None = None
    begun: float | None = None
    ended: float | None = None
    host: str | None = None
    stores: int = 0
    dropped: int = 0
    bytes_returned: int = 0
    failed: int = 0

    @property
    def finished(self) -> bool:
        """Whether the last round came to its end."""
        return self.begun is not None and self.ended is not None and self.ended >= self.begun

    def wants_round(self, due: float | None, now: float) -> bool:
        """Whether a round is to be begun.

        Parameters
        ----------
        due
            When the last night was, from `last_night`; None: there are no nightly rounds.
        now
            Seconds since the epoch.
        """
        if self.asked is not None and (self.begun is None or self.begun < self.asked):
            return True
        if due is None:
            return False
        if self.due is None or self.due < due or self.due > now + _DAY_S:
            return True  # the last: a clock that was far ahead has written it
        return not self.finished and self.due == due and self.attempts < MOST_ATTEMPTS

    def at_begin(self, due: float | None, now: float, host: str) -> Record:
        """What it is when a round begins."""
        again = self.due == due
        attempts = self.attempts + 1 if again and not self.finished else 1
        night = due if due is not None else self.due
        return Record(due=night, attempts=attempts, asked=self.asked, begun=now, host=host)


def last_night(at: time_of_day, now: datetime) -> float:
    """Return when it was last that the clock on the wall showed `at`.

    Parameters
    ----------
    at
        A time of the day, where this machine is. On a day that does not have it, as much later as
        clocks went forward; of one that has it twice, the first.
    now
        The present, aware.

    Returns
    -------
    Seconds since the epoch.
    """
    today = now.astimezone().date()
    # Not by `astimezone`, which makes of an hour that is left out the one before.
    nights = (
        datetime.combine(today - timedelta(days=back), at).timestamp()  # where this machine is
        for back in (0, 1, 2)
    )
    return next(night for night in nights if night <= now.timestamp())


class Upkeep:
    """Records and leases; every method may raise `redis.RedisError`.

    Parameters
    ----------
    client
        Of the broker.
    clock
        Seconds since the epoch, the same on all hosts.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], float]) -> None:
        self._client = client
        self.now = clock

    def record(self, policy: str) -> Record:
        """The last round of a policy."""
        said: Any = self._client.hget(_KEY, policy)
        return _parse(said) if said else Record()

    def records(self) -> dict[str, Record]:
        """The last rounds of all policies."""
        said: Any = self._client.hgetall(_KEY)
        return {policy: _parse(each) for policy, each in sorted(said.items())}

    def write(self, policy: str, record: Record) -> None:
        """Replace what is known of a policy."""
        self._client.hset(_KEY, policy, json.dumps(asdict(record)))

    def ask(self, policy: str) -> None:
        """Have a policy's stores thinned soon."""
        self.write(policy, replace(self.record(policy), asked=self.now()))

    def is_taken(self, policy: str) -> bool:
        """Whether somebody is at it."""
        return bool(self._client.exists(_lease_key(policy)))

    def lease(self, policy: str) -> Lease:
        """The right to thin a policy's stores, to be entered."""
        return Lease(self._client, _lease_key(policy))


class Lease:
    """A right that one process has at a time, renewed by a thread while it lasts.

    Attributes
    ----------
    held
        Whether it is ours. It may be lost: then stop.
    """

    def __init__(self, client: redis.Redis, key: str, *, seconds: float = LEASE) -> None:
        self._client, self._key, self._seconds = client, key, seconds
        self._token = secrets.token_hex(8)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._live, name="lease", daemon=True)
        self._at_work_since = time.monotonic()
        self.held = False

    def progress(self) -> None:
        """Another store begins."""
        self._at_work_since = time.monotonic()

    def __enter__(self) -> Self:
        taken = self._client.set(self._key, self._token, nx=True, px=int(self._seconds * 1000))
        self.held = bool(taken)
        if self.held:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self.held:
            with suppress(redis.RedisError):  # it ends by itself
                self._client.eval(_RELEASE, 1, self._key, self._token)

    def _live(self) -> None:
        missed = 0
        while not self._end.wait(self._seconds / 4):
            if time.monotonic() - self._at_work_since > LONGEST_STORE:
                self.held = False
                return
            try:
                kept: Any = self._client.eval(
                    _RENEW, 1, self._key, self._token, str(int(self._seconds * 1000))
                )
            except redis.RedisError:
                missed += 1
                self.held = missed < 3
            else:
                missed = 0
                self.held = bool(kept)


def _lease_key(policy: str) -> str:
    return f"{_KEY}:lease:{policy}"


_FIELDS = {field.name for field in fields(Record)}


def _parse(said: str) -> Record:
    values = json.loads(said)
    return Record(**{name: value for name, value in values.items() if name in _FIELDS})
