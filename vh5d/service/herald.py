"""The herald: reads what happened, and has hooks run and notifications sent.

Each watcher has one. They read the stream of events as one consumer group, whose position is kept
in Redis: an event is one herald's, and a herald that dies leaves its events to the others. What is
to be done goes into the outbox in the same step that marks the event as read. Captures never wait
for any of this.
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
from vh5d.service import notifications, program, statistics
from vh5d.service.catalog import PREFIX, Catalog
from vh5d.service.events import STREAM
from vh5d.service.outbox import Letter, Outbox

GROUP = "herald"
#: Threads that send: a server that does not answer keeps one of them.
SENDERS = 4
#: Events read at once; milliseconds that one read waits.
BATCH = 100
WAIT = 1000
#: Seconds before a broker that is away is asked again, and before an empty outbox is.
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
        self._begin = "$"

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
        if not 0 <= now - self._looked < LOOK:
            self._looked = now
            self._join()
            self._take_over()
            self._find_stale(now)
        try:
            answer: Any = self._client.xreadgroup(
                GROUP, self._name, {STREAM: ">"}, count=BATCH, block=WAIT
            )
        except redis.ResponseError:
            # The broker lost everything: what it has now happened since.
            self._begin, self._looked = "0", -LOOK
            self._stop.wait(PAUSE)
            return
        for _, entries in answer or ():
            self._tell(entries)

    def _join(self) -> None:
        try:
            self._client.xgroup_create(STREAM, GROUP, id=self._begin, mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _take_over(self) -> None:
        left: Any = self._client.xautoclaim(STREAM, GROUP, self._name, int(LEFT * 1000))
        self._tell(left[1])
        members: Any = self._client.xinfo_consumers(STREAM, GROUP)
        for member in members:
            idle = member["idle"] > 2 * LEFT * 1000
            if idle and not member["pending"] and member["name"] != self._name:
                self._client.xgroup_delconsumer(STREAM, GROUP, member["name"])
        groups: Any = self._client.xinfo_groups(STREAM)
        behind = next((group["lag"] for group in groups if group["name"] == GROUP), None) or 0
        lost = behind - int(self._client.xlen(STREAM))
        if lost > 0:
            log.error("events were dropped before they were told", events=lost)

    def _tell(self, entries: list[tuple[str, dict[str, str]]]) -> None:
        config = self._config()
        policies = {policy.name: policy for policy in config.policies}
        for identifier, values in entries:
            event = _event(values)
            policy = policies.get(str(event.get("policy") or ""))
            pipeline = self._client.pipeline()
            put = 0
            for letter in letters(identifier, event, policy) if policy is not None else ():
                allowed = self._allowed(letter, policy)
                if allowed is not None:
                    self._outbox.put(pipeline, allowed, self._catalog.now())
                    put += 1
                else:
                    self._outbox.count(pipeline, letter.policy, letter.kind, "held")
            pipeline.xack(STREAM, GROUP, identifier)
            pipeline.execute()
            if put:
                self._put.set()

    def _allowed(self, letter: Letter, policy: Policy | None) -> Letter | None:
        """A letter that may be sent by now, with the number of those that might not."""
        if letter.way != "notify" or policy is None:
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
        letter = self._outbox.take(self._catalog.now(), LEASE)
        if letter is None:
            self._put.wait(PAUSE)
            self._put.clear()
            return
        config = self._config()
        policy = next((each for each in config.policies if each.name == letter.policy), None)
        try:
            if policy is not None:
                deliver(letter, policy, config)
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


def letters(identifier: str, event: dict[str, Any], policy: Policy) -> Iterator[Letter]:
    """What an event has to be told of, and to whom.

    Parameters
    ----------
    identifier
        Of the event.
    """
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
