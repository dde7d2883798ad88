"""Words for the catalog, while the broker is away and after."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import redis

from tests.support.waiting import wait_for
from vh5d.service.capturing import keeper as keeper_module
from vh5d.service.capturing.keeper import Keeper
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import State

A = Path("/d/a.h5")


@pytest.fixture
def keep(monkeypatch, redis_client):
    """Keepers that end before the client that they use."""
    monkeypatch.setattr(keeper_module, "PAUSE", 0.02)
    monkeypatch.setattr(keeper_module, "RENEWAL", 0.02)
    made = []

    def start(catalog):
        made.append(Keeper(catalog))
        made[-1].start()
        return made[-1]

    yield start
    for keeper in made:
        keeper.stop()


def test_what_could_not_be_told_is_told_when_the_broker_is_there(
    keep, broker, catalog, redis_client, tmp_path
):
    """The socket is a link that is made later."""
    link = tmp_path / "late.sock"
    catalog.captures.started(A, "p")
    keeper = keep(Catalog(connect(f"unix://{link}")))
    tried = threading.Event()

    def word(late):
        tried.set()
        late.captures.cut_short(A, "died")

    keeper.tell(word)
    redis_client.hset("vh5d:unacked", "tag", "a message")
    keeper.tell(lambda late: late.recovery.acknowledge("tag"))
    assert tried.wait(10)
    assert catalog.source(A).state is State.CAPTURING
    link.symlink_to(broker.socket)
    wait_for(lambda: catalog.source(A).state is State.FAILED, "the word")
    wait_for(lambda: not redis_client.hexists("vh5d:unacked", "tag"), "the other")


def test_leases_of_captures_at_work_are_renewed(keep, catalog, redis_client):
    catalog.captures.started(A, "p")
    redis_client.zadd("vh5d:retry", {str(A): 1})
    keeper = keep(catalog)
    keeper.began("task", A)
    wait_for(lambda: catalog.retries.due() == [], "the renewal")
    keeper.ended("task")
    wait_for(lambda: not keeper._work, "its end")


def test_a_broker_that_comes_and_goes_ends_nothing(keep, catalog):
    keeper = keep(catalog)
    failures = iter([redis.ConnectionError, redis.TimeoutError, None])

    def word(_catalog):
        failure = next(failures)
        if failure is not None:
            raise failure

    keeper.tell(word)
    wait_for(lambda: not keeper._words, "the third attempt")
