"""`vh5d watch` and `vh5d worker` by themselves follow their configuration, in the same process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.test_reload import make, policy, write
from tests.e2e.test_up import kept, versions
from tests.support.roles import Role, free_ports, server
from tests.support.waiting import wait_for


@pytest.fixture
def broker(tmp_path):
    (port,) = free_ports(1)
    with server(tmp_path, port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_roles_become_their_successors(broker: str, data: Path, tmp_path: Path):
    other, config = tmp_path / "other", tmp_path / "roles.yaml"
    other.mkdir()
    write(config, policy(data), broker=broker)
    watch, worker = Role("watch", config), Role("worker", config, arguments=["--concurrency", "1"])
    roles = (watch, worker)
    try:
        first = make(data / "first.h5", 1)
        wait_for(lambda: kept(first, data), "the first version", timeout=90)

        config.write_text("policies: [")
        for role in roles:
            wait_for(lambda r=role: r.said("configuration refused"), "a refusal", timeout=60)
        refused = worker.said("configuration refused")[0]["reason"]
        assert refused.startswith(f"{config}:1: ")

        write(config, policy(data, name="renamed"), policy(other), broker=broker)
        os.kill(worker.process.pid, signal.SIGHUP)
        for role in roles:
            wait_for(lambda r=role: r.said("new configuration"), "the new one", timeout=60)
        files = [(make(data / "first.h5", 2), data), (make(other / "added.h5", 1), other)]
        for path, where in files:
            wait_for(lambda p=path, w=where: kept(p, w), f"{path}", timeout=120)
        assert len(versions(first, data)) == 2
        assert all(role.process.poll() is None for role in roles)

        # The successors look at the file, too; the worker's last word is a stop.
        write(config, policy(other), broker=broker)
        for role in roles:
            wait_for(lambda r=role: len(r.said("new configuration")) == 2, "again", timeout=60)
        make(first, 3)
        make(other / "added.h5", 2)
        wait_for(lambda: kept(other / "added.h5", other), "a version", timeout=120)
        assert len(versions(first, data)) == 2
        assert [role.end(60) for role in roles] == [0, 0]
    finally:
        for role in roles:
            if role.process.poll() is None:
                role.kill()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_capture_in_the_queue_under_an_old_name_is_asked_for_anew(
    broker: str, data: Path, tmp_path: Path
):
    """The worker comes when the policy has another name by now: nothing is lost."""
    config = tmp_path / "roles.yaml"
    write(config, policy(data), broker=broker)
    watch = Role("watch", config)
    path = make(data / "a.h5", 1)
    roles = [watch]
    try:
        wait_for(lambda: watch.said("asked"), "the capture in the queue", timeout=60)
        in_force = json.loads(config.read_text())["policies"][0]
        write(config, {**in_force, "name": "renamed"}, broker=broker)
        wait_for(lambda: watch.said("new configuration"), "the new one", timeout=60)
        roles.append(Role("worker", config, arguments=["--concurrency", "1"]))
        wait_for(lambda: kept(path, data), "the version", timeout=90)
        assert [role.end(60) for role in roles] == [0, 0]
    finally:
        for role in roles:
            if role.process.poll() is None:
                role.kill()
