from __future__ import annotations

import json
import signal
import threading
import time
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.service import run_vh5d
from vh5d.capture.capture import capture
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import FileStat, State
from vh5d.service.running.state import Description, describe, directory_for, hold
from vh5d.service.telling import events
from vh5d.service.telling.report import running_service
from vh5d.service.telling.retry import retry

STAT = FileStat(size=1000, mtime_ns=1, inode=2, device=3)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def known(redis_client):
    return Catalog(redis_client)


@pytest.fixture
def running(root, broker, known):
    """A service as the commands find it: a state directory, a broker, and nobody else."""
    state = directory_for(root)
    held = hold(state / "lock", "")
    describe(state, Description(1, broker.url, [str(root)], None, 0.0))
    yield root
    held.release()


def run(*arguments):
    process = run_vh5d(*arguments)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def fail(catalog, path, error="no room", **how):
    catalog.claims.take(path, "default", "change", "0123456789abcdef")
    before = catalog.captures.started(path, "default")
    catalog.captures.postponed(
        path, 60, error, state=State.FAILED, attempts=4, busy=0, before=before, **how
    )


def test_the_last_events_of_a_file_are_found_behind_many_of_others(known, redis_client):
    known.tell("captured", Path("/rare.h5"))
    for _ in range(events.BATCH + 1):
        known.tell("captured", Path("/often.h5"))
    found = events.last(redis_client, 1, lambda event: event["path"] == "/rare.h5")
    assert [event["path"] for event in found] == ["/rare.h5"]
    assert len(events.last(redis_client, events.BATCH + 2)) == events.BATCH + 2
    assert events.last(redis_client, 0) == []


def test_events_of_the_last_hour_and_no_older(known, redis_client):
    now = time.time()
    for at, name in ((-7200, "old"), (-1800, "new")):
        content = json.dumps({"path": name, "event": "missing", "at": now + at})
        redis_client.xadd(events.STREAM, {"event": content}, id=f"{int((now + at) * 1000)}-0")
    assert [event["path"] for event in events.since(redis_client, 3600)] == ["new"]
    assert len(list(events.since(redis_client, 3 * 3600))) == 2
    assert [event["path"] for event in events.last(redis_client, 1)] == ["new"]


def test_many_events_come_in_order_and_once(known, redis_client, monkeypatch):
    monkeypatch.setattr(events, "BATCH", 7)
    for number in range(50):
        known.tell("missing", number=number)
    assert [event["number"] for event in events.since(redis_client, 60)] == list(range(50))


def test_following_goes_on_when_the_broker_comes_back(known, redis_client, root):
    waits = []
    coming = events.follow(redis_client, events.end(redis_client), waits.append)
    threading.Timer(0.2, known.tell, ["one"]).start()
    assert next(coming)["event"] == "one"
    redis_client.client_kill_filter(_type="normal", skipme=False)
    known.tell("two")
    assert [event["event"] for event in islice(coming, 1)] == ["two"]


def test_the_command_shows_events_of_a_file(running, known):
    fail(known, running / "a.h5")
    known.sightings.missing(running / "a.h5")
    known.tell("quota", running / "b.h5", policy="default", error="over it")
    code, output, _ = run("events", running, "--file", running / "a.h5")
    assert code == 0
    failed, missing = output.splitlines()
    assert "failed" in failed
    assert "no room; next try at" in failed
    assert missing.endswith(f"missing    {running / 'a.h5'}")
    code, output, _ = run("events", "--json", "--since", "1h")
    failed, _, quota = map(json.loads, output.splitlines())
    assert (failed["capture"], failed["policy"]) == ("0123456789abcdef", "default")
    assert failed["at"].endswith("+00:00")
    assert failed["next_try"].endswith("+00:00")
    assert quota["error"] == "over it"
    code, _, errors = run("events", "--since", "yesterday")
    assert (code, errors.count("\n")) == (2, 1)


def test_the_command_follows_until_ctrl_c(running, known):
    known.tell("one")
    process = run_vh5d("events", running, "--follow", "--json")
    assert json.loads(process.stdout.readline())["event"] == "one"
    known.tell("two", running / "a.h5")
    assert json.loads(process.stdout.readline())["path"] == str(running / "a.h5")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_what_was_given_up_is_tried_again(running, known):
    given_up, good, waiting = (running / name for name in ("up.h5", "good.h5", "waiting.h5"))
    before = known.captures.started(given_up, "default")
    known.captures.given_up(given_up, STAT, "bad", state=State.FAILED, before=before)
    known.captures.captured(good, STAT, state=State.CURRENT)
    fail(known, waiting)
    assert known.retries.due() == []
    code, output, _ = run("retry", "--all-failed")
    assert code == 0
    assert output.splitlines() == [
        f"{given_up}: failed, is tried again (bad)",
        f"{waiting}: failed, is tried again (no room)",
    ]
    assert sorted(known.retries.due()) == [str(given_up), str(waiting)]
    assert known.source(waiting).attempts == 0
    assert [content["event"] for _, content in known.events()][-1] == "retry"


def test_retrying_what_cannot_be_says_why(running, known, root):
    known.claims.take(root / "queued.h5", "default", "change")
    fail(known, root / "gone.h5")
    known.sightings.missing(root / "gone.h5")
    names = ["queued.h5", "gone.h5", "unknown.h5"]
    done = retry(known, [str(root / name) for name in names])
    assert [each["refused"] for each in done][:2] == ["it is queued already", "it is not there"]
    assert "does not know it" in done[2]["refused"]
    code, _, errors = run("retry", *(root / name for name in names))
    assert (code, errors.count("\n")) == (1, 3)


def test_damage_that_verify_finds_is_told(running, known, broker, root, tmp_path):
    store = root / ".vh5d" / "a.h5"
    store.parent.mkdir()
    with h5py.File(root / "a.h5", "w") as file:
        file["x"] = np.random.default_rng(1).random(10_000)
    capture(root / "a.h5", store)
    config = tmp_path / "vh5d.yaml"
    settings = {"broker": broker.url, "policies": [{"name": "p", "watch": str(root)}]}
    config.write_text(json.dumps(settings))
    assert run("verify", "--config", config)[0] == 0
    with store.open("r+b") as file:
        file.seek(store.stat().st_size // 3)
        file.write(b"damaged, " * 1000)
    assert run("verify", "--config", config)[0] == 1
    (event,) = [event for _, event in known.events() if event["event"] == "verify"]
    assert (event["policy"], event["store"]) == ("p", str(store))
    assert event["error"]


def test_retry_wants_files_or_all(running):
    assert run("retry")[0] == 2
    assert run("retry", "a.h5", "--all-failed")[0] == 2


def test_a_service_that_does_not_run_is_told_of(root):
    code, _, errors = run("events", root)
    assert (code, errors) == (1, "vh5d: the service does not run; start it: vh5d up\n")


def test_the_service_of_a_file_is_found_by_its_directory(running, tmp_path):
    (tmp_path / "other").mkdir()
    state = directory_for(tmp_path / "other")
    held = hold(state / "lock", "")
    describe(state, Description(1, "unix:///nowhere", [str(tmp_path / "other")], None, 0.0))
    catalog = running_service((), None, None, below=[str(running / "a.h5")])
    held.release()
    assert catalog.queue() == {"waiting": 0, "running": 0}
