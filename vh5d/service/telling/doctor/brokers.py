"""The broker: does it answer, does it keep what it is given, what time is it there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import redis

from vh5d.errors import BrokerError
from vh5d.policy.secrets import without_passwords
from vh5d.policy.units import format_size
from vh5d.service.catalog.address import connect
from vh5d.service.running.broker import server_program
from vh5d.service.telling.doctor.finding import Finding, Level

#: Seconds: what can be seen in the times of versions, and what makes them useless.
SKEW, MOST_SKEW = 2.0, 60.0
#: The first that has all commands that are used (XAUTOCLAIM, GETDEL, ZRANGE … BYSCORE).
LEAST_VERSION = (6, 2)
_FULL = 0.8


def embedded() -> Iterator[Finding]:
    """The private one, while it does not run."""
    try:
        program = server_program()
    except BrokerError as error:
        yield Finding("broker", "bites", error.message, error.hint)
    else:
        yield Finding("broker", "ok", f"embedded: {program}")


def examine(url: str, *, private: bool) -> Iterator[Finding]:
    """One that should answer.

    Parameters
    ----------
    private
        Whether it is the embedded one, whose settings are ours.
    """
    client = connect(url)
    try:
        yield from _of(client, url, private=private)
    except redis.RedisError as error:
        where = without_passwords(url)
        yield Finding("broker", "bites", f"{where}: {error}", f"redis-cli -u {where} ping")
    finally:
        client.close()


def _of(client: redis.Redis, url: str, *, private: bool) -> Iterator[Finding]:
    info: Any = client.info()
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else "Redis"
    version = str(info["redis_version"])
    yield Finding("broker", "ok", f"answers: {name}, compatible with Redis {version}")
    if tuple(map(int, version.split(".")[:2])) < LEAST_VERSION:
        message = f"Redis {version} lacks commands that are needed"
        yield Finding("broker", "bites", message, "install Redis 6.2 or later, or Valkey")
    if info.get("role") != "master":
        message = "is a replica: nothing can be written there"
        yield Finding("broker", "bites", message, "name the primary, or sentinel://…")
    yield from _skew(client)
    most, used = int(info.get("maxmemory", 0)), int(info["used_memory"])
    if most and used > _FULL * most:
        message = f"{format_size(used)} of {format_size(most)} of its memory are used"
        yield Finding("broker", "bites", message, f"redis-cli CONFIG SET maxmemory {2 * most}")
    if not private:
        yield from _settings(client, most)
        yield from _exposed(client, url)


def _settings(client: redis.Redis, most: int) -> Iterator[Finding]:
    try:
        settings: Any = client.config_get("appendonly", "save", "maxmemory-policy")
    except redis.RedisError:
        message = "does not tell its settings (CONFIG is not allowed): persistence is not known"
        yield Finding("broker", "note", message)
        return
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        message = f"forgets what it likes when it is full (maxmemory-policy {policy})"
        mend = "redis-cli CONFIG SET maxmemory-policy noeviction && redis-cli CONFIG REWRITE"
        yield Finding("broker", "bites" if most else "note", message, mend)
    if settings.get("appendonly") == "no":
        how = "snapshots only" if settings.get("save") else "nothing on disk"
        message = (
            f"keeps {how}: when it ends, counters, events and unsent messages since are gone "
            "(no version is)"
        )
        mend = "redis-cli CONFIG SET appendonly yes && redis-cli CONFIG REWRITE"
        yield Finding("broker", "note", message, mend)


def _exposed(client: redis.Redis, url: str) -> Iterator[Finding]:
    address = urlsplit(url)
    local = address.hostname in {None, "localhost", "127.0.0.1", "::1"}
    if local or address.password or address.scheme != "redis":
        return
    message = "asks for no password over the network: whoever reaches it commands the queue"
    mend = "redis-cli CONFIG SET requirepass …, or rediss://; see docs/security.md"
    if client.ping():
        yield Finding("broker", "note", message, mend)


def _skew(client: redis.Redis) -> Iterator[Finding]:
    before = time.time()
    told: Any = client.time()
    after = time.time()
    skew = told[0] + told[1] / 1e6 - (before + after) / 2
    said = f"its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    if abs(skew) <= SKEW + (after - before) / 2:
        yield Finding("broker", "ok", said)
        return
    level: Level = "bites" if abs(skew) > MOST_SKEW else "note"
    mend = "sudo timedatectl set-ntp true  # on both"
    yield Finding("broker", level, f"{said}: times of versions differ by so much", mend)
