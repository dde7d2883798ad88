"""The herald: reads what happened, and has hooks run and notifications sent.

Each watcher has one. For each policy that wants to be told of something, those that have it in
their configuration read the stream of events as one consumer group, whose position is kept in
Redis: an event is one herald's, and a herald that dies leaves its events to the others. What is to
be done goes into the outbox in the same step that marks the event as read. Captures never wait for
any of this.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
import structlog

from vh5d.errors import ServiceError
from vh5d.policy import Config, Policy
from vh5d.policy.notifications import Kind
from vh5d.policy.units import format_duration
from vh5d.service.catalog import statistics
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.records import PREFIX
from vh5d.service.telling import notifications, program
from vh5d.service.telling.events import STREAM
from vh5d.service.telling.outbox import Letter, Outbox

#: Threads that send: a server that does not answer keeps one of them.
SENDERS = 4
#: Events read at once.
BATCH = 100
#: Seconds between two looks at a stream without news, an empty outbox, a broker that is away.
PAUSE = 1.0
#: Seconds between two looks at what other heralds left, and at policies that fell silent.
LOOK = 30.0
#: Seconds after which what another herald read counts as left.
LEFT = 60.0
#: Seconds that one letter may take at most: a program and its end.
LEASE = program.LIMIT + 60.0
#: Events that are occasions, and the states of captures that are.
_OCCASIONS: dict[Any, Kind] = {
    "failed": "failed",
    "unreadable": "failed",
    "too-large": "failed",
    "unclean": "unclean",
    "stale": "stale",
    "quota": "quota",
    "verify": "verify",
}
#: What this host may call otherwise than the queue.
_PATHS = {"path", "store"}

log = structlog.stdlib.get_logger(__name__)


class Herald:
    """Reads and sends in threads of its own, until it is stopped.

    Parameters
    ----------
    config
        Returns the settings of now.
    """

    def __init__(self, catalog: Catalog, config: Callable[[], Config]) -> None:
        self._catalog = catalog
        self._client = catalog.client
        self._config = config
        self._outbox = Outbox(catalog.client)
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._stop = threading.Event()
        self._put = threading.Event()
        loops = [self._read, *[self._send] * SENDERS]
        self._threads = [
            threading.Thread(target=self._repeat, args=(loop,), name="herald", daemon=True)
            for loop in loops
        ]
        self._looked = -LOOK
        self._joined: set[str] = set()

    def start(self) -> None:
        """Begin with what happens from now on, or where the last herald ended."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = PAUSE) -> None:
        """End; what is not sent then is sent by whoever comes next."""
        self._stop.set()
        self._put.set()
        for thread in self._threads:
            thread.join(timeout)

    def _repeat(self, loop: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                loop()
            except redis.RedisError as error:
                log.debug("no news, the broker is away", error=str(error))
                self._stop.wait(PAUSE)
            except Exception:  # one letter that cannot be written stops no other
                log.exception("news that cannot be told")
                self._stop.wait(PAUSE)

    # From events to letters.

    def _read(self) -> None:
        now = self._catalog.now()
        looks = not 0 <= now - self._looked < LOOK
        if looks:
            self._looked = now
            self._find_stale(now)
        told = sum([self._read_of(policy, looks) for policy in self._config().policies])
        if not told:
            self._stop.wait(PAUSE)

    def _read_of(self, policy: Policy, looks: bool) -> int:  # noqa: FBT001
        """Read what is new of a policy; how many events that were."""
        if not wants_news(policy):
            return 0
        group = group_of(policy.name)
        try:
            if looks or group not in self._joined:
                self._join(group)
                self._take_over(group, policy)
            answer: Any = self._client.xreadgroup(group, self._name, {STREAM: ">"}, count=BATCH)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            # The broker lost everything: what it has now happened since.
            self._join(group)
            return 0
        return sum(self._tell(group, policy, entries) for _, entries in answer or ())

    def _join(self, group: str) -> None:
        begin = "0" if group in self._joined else "$"
        try:
            self._client.xgroup_create(STREAM, group, id=begin, mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._joined.add(group)

    def _take_over(self, group: str, policy: Policy) -> None:
        left: Any = self._client.xautoclaim(STREAM, group, self._name, int(LEFT * 1000))
        self._tell(group, policy, left[1])
        members: Any = self._client.xinfo_consumers(STREAM, group)
        for member in members:
            idle = member["idle"] > 2 * LEFT * 1000
            if idle and not member["pending"] and member["name"] != self._name:
                self._client.xgroup_delconsumer(STREAM, group, member["name"])
        groups: Any = self._client.xinfo_groups(STREAM)
        behind = next((each["lag"] for each in groups if each["name"] == group), None) or 0
        lost = behind - int(self._client.xlen(STREAM))
        if lost > 0:
            log.error("events were dropped before they were told", events=lost, policy=policy.name)

    def _tell(self, group: str, policy: Policy, entries: list[tuple[str, dict[str, str]]]) -> int:
        for identifier, values in entries:
            event = _event(values)
            pipeline = self._client.pipeline()
            put = 0
            for letter in letters(identifier, event, policy):
                allowed = self._allowed(letter, policy)
                if allowed is not None:
                    self._outbox.put(pipeline, allowed, self._catalog.now())
                    put += 1
                else:
                    self._outbox.count(pipeline, letter.policy, letter.kind, "held")
            pipeline.xack(STREAM, group, identifier)
            pipeline.execute()
            if put:
                self._put.set()
        return len(entries)

    def _allowed(self, letter: Letter, policy: Policy) -> Letter | None:
        """A letter that may be sent by now, with the number of those that might not."""
        if letter.way != "notify":
            return letter
        what = f"{letter.policy}:{letter.kind}:{letter.index}"
        held = self._outbox.may(letter.id, what, policy.notify[letter.index].at_most)
        if held is None:
            return None
        return Letter(**{**vars(letter), "held": held})

    def _find_stale(self, now: float) -> None:
        for policy in self._config().policies:
            if policy.stale_after is None:
                continue
            moment = datetime.fromtimestamp(now, UTC)
            last = statistics.read(self._client, policy.name, moment).last_change
            if last is None:
                since = f"{PREFIX}since:{policy.name}"
                self._client.set(since, str(now), nx=True)
                last = float(str(self._client.get(since)))
            if now - last <= policy.stale_after:
                continue
            told: Any = self._client.set(f"{PREFIX}stale:{policy.name}", str(last), get=True)
            if told == str(last):
                continue  # of this silence
            error = f"no version for {format_duration(float(round(now - last)))}"
            log.warning("stale", policy=policy.name, error=error)
            self._catalog.tell("stale", policy=policy.name, error=error)

    # From letters to the world.

    def _send(self) -> None:
        config = self._config()
        policies = {policy.name: policy for policy in config.policies if wants_news(policy)}
        letter = self._outbox.take(list(policies), self._catalog.now(), LEASE) if policies else None
        if letter is None:
            self._put.wait(PAUSE)
            self._put.clear()
            return
        try:
            deliver(letter, policies[letter.policy], config)
        except ServiceError as error:
            self._failed(letter, error)
        else:
            self._outbox.done(letter, "sent")

    def _failed(self, letter: Letter, error: ServiceError) -> None:
        about = {"policy": letter.policy, "kind": letter.kind, "path": letter.event.get("path")}
        if letter.way != "notify":
            self._outbox.done(letter, "failed")
            log.warning("the hook failed", hook=letter.way, error=str(error), **about)
        elif self._outbox.again(letter, self._catalog.now()):
            log.warning("nobody could be told, trying again", error=str(error), **about)
        else:
            log.error("nobody could be told", error=str(error), **about)


def deliver(letter: Letter, policy: Policy, config: Config) -> None:
    """Run the hook, or send the notification.

    Raises
    ------
    ServiceError
        It failed.
    """
    if letter.way == "notify":
        # The configuration may have changed since.
        if letter.index < len(policy.notify):
            notifications.send(letter, policy.notify[letter.index], config.mail)
        return
    hooks = policy.hooks
    command = hooks.after_capture if letter.way == "after_capture" else hooks.on_failure
    event = letter.event
    local = {name: config.names.local(str(event[name])) for name in _PATHS & set(event)}
    if not is_of(policy, local.get("path", "")):
        # Whoever can write to the broker can tell of anything.
        raise ServiceError(f"{local.get('path')}: outside the policy")
    if command:
        program.run(command, event | local)


def wants_news(policy: Policy) -> bool:
    """Whether anybody wants to be told of the policy's files."""
    return bool(policy.notify or policy.hooks.after_capture or policy.hooks.on_failure)


def group_of(policy: str) -> str:
    """The consumer group of those who tell of a policy."""
    return f"herald:{policy}"


def letters(identifier: str, event: dict[str, Any], policy: Policy) -> Iterator[Letter]:
    """What an event has to be told of, and to whom.

    Parameters
    ----------
    identifier
        Of the event.
    event
        Of any policy; empty for what is none.
    """
    if event.get("policy") != policy.name:
        return
    about: Any = {"policy": policy.name, "event": _readable(event)}
    if policy.hooks.after_capture and event["event"] == "captured" and event.get("changed"):
        yield Letter(id=f"{identifier}:c", way="after_capture", kind="captured", **about)
    kind = occasion(event)
    if policy.hooks.on_failure and kind == "failed":
        yield Letter(id=f"{identifier}:f", way="on_failure", kind="failed", **about)
    for index, each in enumerate(policy.notify):
        if kind is not None and kind in each.on:
            yield Letter(id=f"{identifier}:{index}", way="notify", kind=kind, index=index, **about)


def occasion(event: dict[str, Any]) -> Kind | None:
    """What an event is an occasion of, if it is one."""
    name = event["event"]
    if name == "captured":
        name = event.get("state") if event.get("changed") else None
    return _OCCASIONS.get(name)


def _event(values: dict[str, str]) -> dict[str, Any]:
    """An event; empty if it was dropped meanwhile, or somebody else put it there."""
    try:
        event = json.loads(values["event"])
    except (KeyError, TypeError, ValueError):
        return {}
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else {}


def is_of(policy: Policy, path: str) -> bool:
    """Whether a file is below a directory of the policy, going by its name."""
    inside = any(Path(path).is_relative_to(root) for root in policy.roots)
    return inside and ".." not in Path(path).parts


def _readable(event: dict[str, Any]) -> dict[str, Any]:
    """An event with its times in ISO 8601."""
    return {
        name: datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
        if name in {"at", "next_try"} and isinstance(value, int | float)
        else value
        for name, value in event.items()
    }
