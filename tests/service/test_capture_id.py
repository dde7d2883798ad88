"""The id of a capture: given when it is asked for, kept until it comes to an end."""

from __future__ import annotations

import base64
import json

import pytest

from vh5d.service.capturing.tasks import Queue, make_app
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.records import PREFIX
from vh5d.service.catalog.source import CHANGE, RETRY


@pytest.fixture
def ask(broker, redis_client, tmp_path):
    """Has a file captured; the id of the message that asks for it."""
    catalog = Catalog(redis_client)
    queue = Queue(make_app(broker.url), catalog)

    def ask(cause):
        assert queue.put(tmp_path / "a.h5", "p", cause)
        (key,) = redis_client.keys(f"{PREFIX}captures*")
        message = json.loads(redis_client.lpop(key))
        assert len(json.loads(base64.b64decode(message["body"]))[0]) == 2, "a path and a policy"
        catalog.captures.started(tmp_path / "a.h5", "p")
        return message["headers"]["id"]

    return ask


def test_attempts_after_a_failure_go_on_under_the_same_id(ask):
    first = ask(CHANGE)
    assert len(first) == 16
    assert ask(RETRY) == first
    second = ask(CHANGE)
    assert second != first
    assert ask(RETRY) == second
