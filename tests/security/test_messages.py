"""What a worker does with messages that are not ours: refuses, says so, and goes on."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import threading
import uuid

import h5py
import pytest

from tests.support.service import ROOT
from tests.support.waiting import wait_for
from vh5d.service.capturing.message import read_message
from vh5d.service.capturing.tasks import TASK
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.queues import QUEUE
from vh5d.service.catalog.records import PREFIX
from vh5d.service.running.broker import Broker


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def message(body, *, kind="application/json", task=TASK, encoding="utf-8", **headers):
    identity = str(uuid.uuid4())
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.dumps(
        {
            "body": base64.b64encode(raw).decode(),
            "content-encoding": encoding,
            "content-type": kind,
            "headers": {"lang": "py", "task": task, "id": identity, "root_id": identity, **headers},
            "properties": {
                "body_encoding": "base64",
                "correlation_id": identity,
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "delivery_tag": identity,
                "priority": 0,
            },
        }
    )


def task(*arguments, **headers):
    return message([list(arguments), {}, {}], **headers)


class Worker:
    def __init__(self, config, url):
        self.lines = []
        options = ["--json", "--concurrency", "1", "--config", str(config)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vh5d", "worker", *options],
            cwd=ROOT,
            env={**os.environ, "VH5D_BROKER": url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with self.process.stderr as lines:
            for line in lines:
                self.lines.append(line)

    def said(self, text):
        return [line for line in list(self.lines) if text in line]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.reader.join(10)


@pytest.fixture
def data(tmp_path):
    directory = tmp_path / "data"
    directory.mkdir()
    for path in (directory / "good.h5", tmp_path / "outside.h5"):
        with h5py.File(path, "w") as file:
            file["x"] = 1
    (directory / "link.h5").symlink_to(tmp_path / "outside.h5")
    return directory


@pytest.fixture
def served(tmp_path, data):
    broker = Broker(tmp_path / "broker")
    broker.start()
    config = tmp_path / "vh5d.yaml"
    config.write_text(json.dumps({"policies": [{"name": "p", "watch": str(data)}]}))
    worker = Worker(config, broker.url)
    yield worker, connect(broker.url)
    worker.stop()
    broker.stop()


def hostile(tmp_path, data):
    trap = tmp_path / "trap"
    yield (
        "untrusted content",
        message(pickle.dumps(([Trap(trap)], {}, {})), kind="application/x-python-serialize"),
    )
    for kind in ("application/x-yaml", "application/x-msgpack", "application/data"):
        yield kind, message(b"- a", kind=kind, encoding="binary")
    yield "not JSON", message(b"{]")
    yield "unknown task", task("/", "p", task="os.system")
    yield "no task", message([[], {}, {}], task=None)
    yield "a body that is no list", message({"path": "x"})
    yield "arguments that are no list", message([5, {}, {}])
    for arguments in (
        [],
        ["/a"],
        ["/a", "p", "more"],
        [5, "p"],
        [None, None],
        [["/a"], {"p": 1}],
        [{"py/object": "os.system"}, "p"],
        ["relative.h5", "p"],
        [f"{data}/nul\0.h5", "p"],
        [f"{data}/" + "x" * 5_000_000, "p"],
        ["/" + "a/" * 1_000_000, "p"],
        [f"{data}/good.h5", "p" * 1_000_000],
        [f"{data}/\ud800.h5", "p"],
    ):
        yield repr(arguments)[:50], task(*arguments)
    yield "headers", task(f"{data}/good.h5", "p", eta="never", expires={}, timelimit="x")
    yield "others", message([[f"{data}/good.h5"], {"policy": "p"}, {}])
    for path in (
        tmp_path / "outside.h5",
        f"{data}/../outside.h5",
        f"{data}/link.h5",
        f"{data}/.vh5d/good.h5",
        f"{data}/../data/.vh5d/good.h5",
        f"{data}/.hidden.h5",
        f"{data}/notes.txt",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
    ):
        yield str(path), task(str(path), "p")
    yield "no such policy", task(f"{data}/good.h5", "q")


def test_hostile_messages_are_refused_and_the_worker_goes_on(served, tmp_path, data):
    worker, client = served
    before = {path for path in tmp_path.rglob("*") if "broker" not in path.parts}
    messages = list(hostile(tmp_path, data))
    for _, each in messages:
        client.lpush(PREFIX + QUEUE, each)
    client.lpush(PREFIX + QUEUE, task(f"{data}/good.h5", "p"))
    wait_for(lambda: worker.said('"event": "version"'), "the good one", 60)
    wait_for(lambda: not client.exists(PREFIX + "unacked"), "every message to be answered for")
    assert worker.process.poll() is None
    new = {path for path in tmp_path.rglob("*") if "broker" not in path.parts} - before
    home = data / ".vh5d"
    assert new == {home, home / "good.h5"}
    refused = worker.said("refused: ")
    assert len(worker.said("refused: outside the policy")) == 11
    assert worker.said("invalid ETA value")  # Celery refuses that itself
    assert len(refused) == len(messages) - 1
    assert all(len(line) < 100_000 for line in worker.lines), "a message is not to fill the log"
    known = [str(source.path) for source in Catalog(client).sources()]
    assert known == [f"{data}/good.h5"]


@pytest.mark.parametrize(
    "arguments", [[], ["/a"], [1, 2], ["a", "p"], ["/\0", "p"], ["/" * 4096, ""]]
)
def test_what_is_no_path_and_policy_is_none(arguments):
    assert read_message(arguments) is None


def test_any_name_of_a_file_is_one(tmp_path):
    path = os.fsdecode(b"/data/\xff\xfe new\nline.h5")
    found, policy = read_message([path, "p"])
    assert (os.fsencode(found), policy) == (b"/data/\xff\xfe new\nline.h5", "p")
