from __future__ import annotations

import pytest

from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.running.broker import Broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def redis_client(broker):
    client = connect(broker.url)
    client.flushall()
    yield client
    client.close()


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock(1_000_000.0)


@pytest.fixture
def catalog(redis_client, clock):
    return Catalog(redis_client, clock)
