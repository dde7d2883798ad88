"""A watcher and a worker on hosts of their own, and a network that fails between them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.test_up import kept, versions, write_h5py
from tests.support.network import host
from tests.support.service import run_vh5d
from tests.support.waiting import wait_for
from vh5d.service.broker import server_program
from vh5d.service.catalog import Catalog, connect


class Role:
    """`vh5d watch` or `vh5d worker` on a host."""

    def __init__(self, name: str, config: Path, prefix: list[str]) -> None:
        self.records: list[dict[str, Any]] = []
        arguments = ("--json", "--config", config)
        self.process = run_vh5d(name, *arguments, prefix=prefix, errors=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def said(self, event: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["event"].startswith(event)]

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with contextlib.suppress(ValueError):
                    self.records.append(json.loads(line))

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(10)


@pytest.fixture
def hosts(tmp_path, data):
    """A watcher's, a worker's, and the broker's address for each, all on one file system."""
    with contextlib.ExitStack() as stack:
        network = [stack.enter_context(host(number)) for number in (11, 12)]
        port = 20000 + int(network[0].name.split("-")[1]) % 20000
        addresses = " ".join(each.gateway for each in network)
        settings = f"port {port}\nbind {addresses}\nprotected-mode no\nsave ''\ndir {tmp_path}\n"
        (tmp_path / "valkey.conf").write_text(settings)
        broker = subprocess.Popen(
            [server_program(), tmp_path / "valkey.conf"], stdout=subprocess.DEVNULL
        )
        stack.callback(broker.wait)
        stack.callback(broker.kill)
        urls = [f"redis://{each.gateway}:{port}/0" for each in network]
        for url in urls:
            wait_for(lambda url=url: answers(url), "the broker")
        yield network, urls


def answers(url):
    with connect(url) as client:
        try:
            return client.ping()
        except redis.RedisError:
            return False


@pytest.fixture
def start(tmp_path, data):
    running = []

    def role(name, place, url):
        config = tmp_path / f"{name}.yaml"
        policy = {"name": "p", "watch": str(data), "settle": "200ms"}
        config.write_text(json.dumps({"broker": url, "policies": [policy]}))
        running.append(Role(name, config, place.prefix))
        return running[-1]

    yield role
    for each in running:
        each.end()


@pytest.mark.parametrize("lost", ["watch", "worker"])
def test_a_host_that_loses_the_broker_goes_on_when_it_has_it_again(hosts, start, data, lost):
    network, urls = hosts
    roles = {
        name: start(name, place, url)
        for name, place, url in zip(("watch", "worker"), network, urls, strict=True)
    }
    write_h5py(data / "before.h5")
    wait_for(lambda: kept(data / "before.h5", data), "a version before", timeout=60)
    cut = network[["watch", "worker"].index(lost)]
    cut.cable("down")
    write_h5py(data / "during.h5")
    if lost == "watch":
        said = "the broker does not answer, going on without it"
        wait_for(lambda: roles["watch"].said(said), "the notice", timeout=60)
        assert versions(data / "during.h5", data) == []
    else:
        with connect(urls[0]) as client:
            catalog = Catalog(client)
            wait_for(lambda: catalog.source(data / "during.h5"), "the request", timeout=60)
    cut.cable("up")
    wait_for(lambda: kept(data / "during.h5", data), "the version", timeout=100)
    write_h5py(data / "after.h5")
    wait_for(lambda: kept(data / "after.h5", data), "a version after", timeout=60)
    assert all(role.process.poll() is None for role in roles.values())
    for name in ("before", "during", "after"):
        assert len(versions(data / f"{name}.h5", data)) == 1
