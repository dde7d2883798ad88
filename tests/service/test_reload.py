"""A configuration file that changes, without the processes that follow it."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_for
from vh5d.errors import ServiceError
from vh5d.policy import read
from vh5d.service.running import reload as reload_module
from vh5d.service.running.handover import VARIABLE, hand_over, handed_over
from vh5d.service.running.notify import Notifier
from vh5d.service.running.reload import ConfigFile, what_needs_a_start
from vh5d.service.running.signals import StopRequests
from vh5d.service.telling.notices import Notices, refusals


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(reload_module, "LOOK_PAUSE", 0.05)
    monkeypatch.setattr(reload_module, "TICK", 0.01)
    monkeypatch.setattr(reload_module, "UNTOUCHED", 0.01)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "vh5d.yaml"
    path.write_text("policies: [{watch: /data}]")
    return path


@pytest.fixture
def file(path):
    return ConfigFile(read(path))


def test_nothing_changed(file):
    file.look()
    file.look(asked=True)
    assert file.take() is None
    assert file.refused is None


def test_what_is_right_and_different_is_proposed_once(file, path):
    path.write_text("policies: [{watch: /data, settle: 5s}]")
    file.look()
    found = file.take()
    assert found.config.policies[0].settle == 5.0
    file.look()
    assert file.take() is None
    file.accept(found)
    path.write_text("policies: [{watch: /data, settle: 5s}] # as it was")
    file.look()
    assert file.take() is None


def test_what_is_wrong_is_refused_until_it_is_mended(file, path):
    right = path.read_text()
    path.write_text("policies: [{watch: /data, settle: soon, colour: red}]")
    file.look()
    assert file.take() is None
    assert "settle: 'soon' is not a duration" in file.refused
    assert "colour: unknown key" in file.refused
    path.unlink()
    file.look()
    assert file.refused == f"{path}: cannot be read: No such file or directory"
    path.write_text(right)
    file.look()
    assert file.refused is None
    assert file.take() is None


def test_what_is_proposed_may_be_refused(file, path):
    before = file._in_force.config
    path.write_text("broker: redis://host\nmetrics: 127.0.0.1:1\npolicies: [{watch: /data}]")
    file.look()
    found = file.take()
    reason = what_needs_a_start(before, found.config)
    assert reason.startswith("broker and metrics cannot change while the service runs")
    assert what_needs_a_start(before, before) is None
    file.refuse(reason)
    assert file.refused == reason
    file.look()
    assert file.take() is None, "said once"


def test_a_file_that_is_being_written_is_left_for_the_next_look(file, path, monkeypatch):
    path.write_text("policies: [{watch: /data, settle: ")
    wait = file._ended.wait

    def write_on(seconds):
        path.write_text("policies: [{watch: /data, settle: 5s}]")
        return wait(seconds)

    monkeypatch.setattr(file._ended, "wait", write_on)
    file.look()
    assert file.take() is None
    assert file.refused is None
    file.look()
    assert file.take() is not None


def test_included_files_and_secrets_count(path, tmp_path):
    path.write_text(
        "include: '*.yml'\nbroker: 'redis://:${file:secret}@host'\npolicies: [watch: a]"
    )
    (tmp_path / "secret").write_text("one")
    file = ConfigFile(read(path))
    (tmp_path / "b.yml").write_text("policies: [watch: b]")
    file.look()
    found = file.take()
    assert [policy.name for policy in found.config.policies] == ["a", "b"]
    file.accept(found)
    (tmp_path / "secret").write_text("two!")
    file.look()
    assert file.take().config.broker == "redis://:two!@host"


def test_a_request_is_heeded_and_status_hears_of_a_refusal(path, redis_client, tmp_path):
    requests = StopRequests(reloads=True)
    said = tmp_path / "said"
    received: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(said))
        systemd.settimeout(20)
        notifier = Notifier({"NOTIFY_SOCKET": str(said)})
        file = ConfigFile(read(path), Notices(redis_client), lambda: requests.reloads, notifier)
        file.start()
        try:
            path.write_text("policies: [")
            wait_for(lambda: refusals(redis_client), "the refusal")
            (told,) = refusals(redis_client)
            assert (told["file"], told["pid"]) == (str(path), os.getpid())
            assert told["reason"].startswith(f"{path}:1: ")
            path.write_text("policies: [{watch: /data}]")
            wait_for(lambda: not refusals(redis_client), "its end")
            requests.reloads += 1
            while "READY=1" not in received:
                received.append(systemd.recv(1000).decode())
            assert [each.split("\n")[0] for each in received] == ["RELOADING=1", "READY=1"]
            assert "MONOTONIC_USEC=" in received[0]
        finally:
            file.stop()


def test_a_configuration_is_handed_to_a_child_with_its_texts(path, tmp_path, monkeypatch):
    path.write_text("include: '*.yml'\npolicies: [{watch: a, store: 'kept/{path}'}]")
    (tmp_path / "b.yml").write_text("policies: [watch: b]")
    reading = read(path)
    descriptor = hand_over(reading)
    path.write_text("broken: [")
    (tmp_path / "b.yml").unlink()
    code = (
        "from vh5d.service.running.handover import handed_over\n"
        "print(handed_over().settings().model_dump_json())\n"
        "assert handed_over() is None\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, VARIABLE: str(descriptor)},
        pass_fds=[descriptor],
        capture_output=True,
        text=True,
        check=True,
    )
    os.close(descriptor)
    assert json.loads(done.stdout) == json.loads(reading.settings().model_dump_json())
    assert handed_over({}) is None
    with pytest.raises(ServiceError, match="is no configuration"):
        handed_over({VARIABLE: str(descriptor)})
    with pytest.raises(ServiceError, match="unset it"):
        handed_over({VARIABLE: "none"})


TERMINAL = """
import os, signal, sys, time
from vh5d.service.running.signals import StopRequests
requests = StopRequests(reloads=sys.argv[1] == "reloads")
requests.install()
open(sys.argv[2], "w").close()
while not (requests.reloads or requests.count):
    time.sleep(0.01)
open(sys.argv[3], "w").write(f"{requests.reloads} {requests.count}")
"""


@pytest.mark.parametrize(
    ("how", "terminal", "result"),
    [
        ("reloads", "none", "1 0"),
        ("reloads", "stays", "1 0"),
        ("reloads", "goes", "0 1"),
        ("stops", "none", "0 1"),
        ("stops", "goes", "0 1"),
    ],
)
def test_a_hangup_is_a_request_unless_the_terminal_is_gone(tmp_path, how, terminal, result):
    ready, said = tmp_path / "ready", tmp_path / "said"
    command = [sys.executable, "-c", TERMINAL, how, str(ready), str(said)]
    root = str(Path(__file__).parents[2])
    if terminal == "none":
        null = subprocess.DEVNULL
        environment = {**os.environ, "PYTHONPATH": root}
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=environment)
        wait_for(ready.exists, "the handler")
        process.send_signal(signal.SIGHUP)
        process.wait(30)
    else:
        pid, master = pty.fork()
        if pid == 0:
            os.environ["PYTHONPATH"] = root
            os.execv(sys.executable, command)
        wait_for(ready.exists, "the handler")
        if terminal == "stays":
            os.kill(pid, signal.SIGHUP)
            os.waitpid(pid, 0)
            os.close(master)
        else:
            os.close(master)
            os.waitpid(pid, 0)
    assert said.read_text() == result


def test_giving_way_is_no_request_to_stop():
    requests = StopRequests()
    requests.give_way()
    assert requests.is_set()
    assert requests.count == 0
