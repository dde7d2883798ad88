"""Telling the service of a damaged store, which tells whoever wants to be told."""

from __future__ import annotations

from pathlib import Path

import redis

from vh5d.errors import BrokerError, ServiceError
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.telling.report import Service


def tell_damage(service: Service, store: Path, error: str) -> None:
    """Note that a store is damaged, as an event of its policy.

    Raises
    ------
    ServiceError
        The service does not run, or has no policy for such a store.
    BrokerError
        Its broker does not answer.
    """
    found = [policy for policy in service.config.policies if policy.is_store(store)]
    if not found:
        raise ServiceError(f"{store}: no policy keeps a store there, so nobody is told")
    if service.broker is None:
        raise ServiceError("the service does not run, so nobody is told", hint="vh5d up")
    catalog = Catalog(connect(service.broker), maps=service.config.names)
    try:
        catalog.tell("verify", policy=found[0].name, store=str(store), error=error)
    except redis.RedisError as refused:
        raise BrokerError(f"the broker does not answer, so nobody is told: {refused}") from refused
