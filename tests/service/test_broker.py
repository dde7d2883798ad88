from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_for
from vh5d.errors import BrokerError
from vh5d.service.catalog.address import connect
from vh5d.service.running import broker as broker_module
from vh5d.service.running.broker import LONGEST_SOCKET_PATH, Broker, ping, socket_path


@pytest.fixture
def private(tmp_path):
    broker = Broker(tmp_path / 'a "strange" name')
    yield broker
    broker.stop()


def test_it_listens_on_a_socket_of_ours_and_nowhere_else(private):
    process = private.start()
    assert stat.S_IMODE(private.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(private.directory.stat().st_mode) == 0o700
    kinds = {connection.family.name for connection in psutil.Process(process.pid).net_connections()}
    assert kinds == set()


def test_what_it_was_told_survives_a_stop(private):
    private.start()
    connect(private.url).set("key", "value")
    private.stop()
    assert not private.socket.exists()
    private.start()
    assert connect(private.url).get("key") == "value"


def test_an_append_only_file_cut_by_a_crash_does_not_stop_it(private):
    process = private.start()
    client = connect(private.url)
    for number in range(100):
        client.set(f"key{number}", "value")
    private.stop()
    log = max((private.directory / "appendonlydir").glob("*.incr.aof"))
    os.truncate(log, log.stat().st_size - 10)
    process = private.start()
    assert process.poll() is None
    assert connect(private.url).dbsize() == 99


def test_it_starts_after_it_was_killed(private):
    process = private.start()
    process.kill()
    process.wait()
    assert not ping(private.socket)
    private.start()
    assert private.answers()


def test_a_server_that_cannot_start_is_told_with_its_last_words(private, monkeypatch):
    monkeypatch.setattr(broker_module, "_CONFIGURATION", "no-such-directive 1\n")
    with pytest.raises(BrokerError, match="ended with status"):
        private.start()


def test_a_long_state_directory_gets_a_short_socket(tmp_path, monkeypatch, request):
    run = Path(tempfile.mkdtemp(prefix="run-", dir="/tmp"))  # a short one, as those of users are
    request.addfinalizer(lambda: shutil.rmtree(run))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    long = tmp_path / ("x" * 120)
    path = socket_path(long)
    assert len(os.fsencode(path)) <= LONGEST_SOCKET_PATH
    assert path != socket_path(tmp_path / ("y" * 120))
    broker = Broker(long)
    broker.start()
    try:
        assert connect(broker.url).ping()
        assert stat.S_IMODE(broker.socket.parent.stat().st_mode) == 0o700
    finally:
        broker.stop()


def test_it_does_not_outlive_whoever_started_it(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from vh5d.service.running.broker import Broker\n"
        "b = Broker(Path(sys.argv[1])); print(b.start().pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        server = psutil.Process(int(parent.stdout.readline()))
        assert server.is_running()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not _runs(server), "the server to end")


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
