"""Signs of life go out while the checks pass, and only then."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.service import Up
from tests.support.waiting import wait_for
from vh5d.policy import default_config
from vh5d.service.running.broker import Broker
from vh5d.service.running.children import BROKER_VARIABLE
from vh5d.service.running.notify import Notifier
from vh5d.service.running.pulse import LifeSigns, Pulse
from vh5d.service.running.signals import StopRequests
from vh5d.service.running.supervisor import BROKER_SILENT, Plan, Supervisor
from vh5d.service.telling.live import LineView
from vh5d.service.watching.canary import Canary, Habits

ROOT = Path(__file__).parents[2]
WATCHDOG_USEC = 200_000


class Manager:
    """What systemd would hear."""

    def __init__(self, directory: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = directory / "notify"
        self.socket.bind(str(address))
        self.environment = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": str(WATCHDOG_USEC)}

    def next(self, timeout: float = 60.0) -> str:
        self.socket.settimeout(timeout)
        return self.socket.recv(1000).decode()

    def wait_for(self, start: str) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            heard = self.next()
            if heard.startswith(start):
                return heard
        raise AssertionError(f"never heard {start}")

    def forget(self) -> None:
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.recv(1000)
        except BlockingIOError:
            pass

    def hears_nothing(self, seconds: float) -> bool:
        self.forget()
        try:
            self.next(seconds)
        except TimeoutError:
            return True
        return False


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path)
    yield made
    made.socket.close()


def test_a_loop_that_stands_still_is_ill_one_that_waits_is_not():
    now = [0.0]
    pulse = Pulse(10.0, lambda: now[0])
    now[0] = 10.0
    assert pulse.ailment() is None
    now[0] = 11.0
    assert pulse.ailment() == "its loop has stood still for 11 s"
    pulse.beat()
    assert pulse.ailment() is None
    with pulse.waiting():
        now[0] = 1000.0
        assert pulse.ailment() is None
    assert pulse.ailment() is None


def test_signs_of_life_stop_with_health_and_come_back_with_it(manager):
    ailments: list[str | None] = [None]
    signs = LifeSigns(Notifier(manager.environment), lambda: ailments[0])
    signs.begin("watching")
    assert manager.next() == "READY=1\nSTATUS=watching"
    assert manager.next() == "WATCHDOG=1"
    ailments[0] = "deaf"
    assert manager.wait_for("STATUS") == "STATUS=deaf"
    assert manager.hears_nothing(5 * WATCHDOG_USEC / 1e6)
    ailments[0] = None
    assert manager.next() == "WATCHDOG=1"
    ailments[0] = "deaf"
    signs.stopping()
    assert manager.wait_for("STOPPING") == "STOPPING=1\nSTATUS=stopping"
    assert manager.wait_for("WATCHDOG")  # what is still at work is not to be cut short
    signs.end()
    assert manager.hears_nothing(5 * WATCHDOG_USEC / 1e6)


def test_a_canary_is_missed_only_where_it_was_heard(tmp_path):
    now = [0.0]
    canary = Canary(tmp_path, Habits(patience=5.0), clock=lambda: now[0])
    canary._unheard_since = 0.0
    now[0] = 6.0
    assert canary.lost()
    assert canary.ailment() is None  # it may be a file system that tells nothing: no cure
    canary.heard(str(canary.path))
    canary._unheard_since = 6.0
    assert canary.ailment() is None
    now[0] = 12.0
    assert canary.ailment() == f"events of {tmp_path} do not arrive any more"


@contextmanager
def role(name: str, manager: Manager, broker: Broker, data: Path, *arguments: str):
    process = subprocess.Popen(
        [sys.executable, "-m", "vh5d", name, *arguments, str(data)],
        cwd=ROOT,
        env={**os.environ, **manager.environment, BROKER_VARIABLE: broker.url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def broker(tmp_path):
    made = Broker(tmp_path / "broker")
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("watch", (), "watching /"),
        ("worker", ("--concurrency", "2"), "captures 2 files at a time"),
    ],
)
def test_a_role_alone_says_how_it_is(name, arguments, status, manager, broker, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    with role(name, manager, broker, data, *arguments) as process:
        assert manager.wait_for("READY").startswith(f"READY=1\nSTATUS={status}")
        manager.wait_for("WATCHDOG")
        broker.stop()  # a broker that is away is no ailment: starting anew would not help
        manager.forget()
        manager.wait_for("WATCHDOG")
        broker.start()
        process.send_signal(signal.SIGSTOP)  # one that hangs is
        wait_for(lambda: manager.hears_nothing(5 * WATCHDOG_USEC / 1e6), "silence")
        process.send_signal(signal.SIGCONT)
        manager.wait_for("WATCHDOG")
        process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        assert process.wait(60) == 0


def test_a_role_below_another_says_nothing(manager, broker, tmp_path):
    with role(
        "watch", manager, broker, tmp_path, "--json", "--parent", str(os.getpid())
    ) as process:
        for line in process.stderr:
            if b'"alive"' in line:
                break
        assert manager.hears_nothing(5 * WATCHDOG_USEC / 1e6)


def test_the_whole_service_is_well_while_its_watcher_and_its_broker_are(tmp_path):
    supervisor = Supervisor(
        Plan(default_config([tmp_path]), None, [tmp_path], state=tmp_path / "state"),
        LineView("json"),
        StopRequests(),
    )
    now = time.monotonic()
    assert not supervisor._is_well(now)  # nothing was started
    supervisor._children = []
    assert supervisor._is_well(now)
    assert not supervisor._is_well(now + BROKER_SILENT + 1)
    alive = {"process": "watch", "event": "alive", "level": "debug"}
    supervisor._show({**alive, "ailment": "events do not arrive"})
    assert not supervisor._is_well(now)
    supervisor._show({**alive, "ailment": None})
    assert supervisor._is_well(now)


def test_the_whole_service_says_how_it_is(manager, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    for name, value in manager.environment.items():
        monkeypatch.setenv(name, value)
    up = Up(data, tmp_path)
    try:
        up.start()
        assert manager.wait_for("READY").startswith(f"READY=1\nSTATUS=watching {data}")
        manager.wait_for("WATCHDOG")
        assert up.stop() == 0
        manager.wait_for("STOPPING")
    finally:
        up.kill()
