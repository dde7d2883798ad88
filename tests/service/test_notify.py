from __future__ import annotations

import socket

import pytest

from vh5d.service.running.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    address = str(tmp_path / "notify") if request.param == "path" else f"@vh5d-{tmp_path.name}"
    bound = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(bound)
        receiver.settimeout(10)
        yield receiver, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}


def test_systemd_hears_of_every_state(systemd):
    receiver, environment = systemd
    notifier = Notifier(environment)
    notifier.ready("watching /data")
    notifier.alive()
    notifier.stopping()
    assert receiver.recv(1000) == b"READY=1\nSTATUS=watching /data"
    assert receiver.recv(1000) == b"WATCHDOG=1"
    assert receiver.recv(1000) == b"STOPPING=1\nSTATUS=stopping"
    assert notifier.watchdog_interval == 15.0


def test_without_systemd_nobody_hears():
    notifier = Notifier({})
    notifier.ready()
    assert notifier.watchdog_interval is None


def test_a_socket_that_is_gone_does_no_harm(tmp_path):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
