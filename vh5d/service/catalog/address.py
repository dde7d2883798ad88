"""From the address of a broker to clients: ours, and what Celery has to be told for its own."""

from __future__ import annotations

from typing import Any

import redis
from redis.sentinel import Sentinel

from vh5d.policy.broker_address import BrokerAddress, Sentinels

#: Seconds after which a command to Redis counts as failed.
REDIS_TIMEOUT = 5.0


def connect(url: str) -> redis.Redis:
    """A client; file names that are not UTF-8 survive the way there and back."""
    options: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
        "socket_timeout": REDIS_TIMEOUT,
        "socket_connect_timeout": REDIS_TIMEOUT,
    }
    address = BrokerAddress.parse(url)
    if address.sentinels is None:
        return redis.Redis.from_url(address.url, **options)
    encrypted = {"ssl": True, **address.tls} if address.tls is not None else {}
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels.hosts,
        sentinel_kwargs=_of_sentinels(address, address.sentinels),
        **options,
        **encrypted,
    )
    client: redis.Redis = sentinel.master_for(address.sentinels.service, **address.login)
    return client


def celery_settings(url: str) -> dict[str, Any]:
    """What tells Celery of the same broker: settings, with the options of its transport."""
    address = BrokerAddress.parse(url)
    if address.sentinels is None:
        socket = address.url.startswith("unix://")
        broker = address.url if not socket else "redis+socket://" + address.url[len("unix://") :]
        return {"broker_url": broker, "broker_transport_options": {}}
    places = [address.sentinel_url(*host) for host in address.sentinels.hosts]
    return {
        # kombu takes a single Sentinel from the address, several from all parts of a list.
        "broker_url": ";".join(places),
        "broker_use_ssl": dict(address.tls) if address.tls is not None else None,
        "broker_transport_options": {
            "master_name": address.sentinels.service,
            "sentinel_kwargs": _of_sentinels(address, address.sentinels),
        },
    }


def _of_sentinels(address: BrokerAddress, sentinels: Sentinels) -> dict[str, Any]:
    encrypted = {"ssl": True, **address.tls} if address.tls is not None else {}
    timeouts = {"socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT}
    return {**timeouts, **encrypted, **sentinels.login}
