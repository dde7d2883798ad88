"""The broker's password and TLS; and where the password is not seen."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import psutil
import pytest
import redis

from tests.security.conftest import PASSWORD
from tests.support.service import ROOT, Up
from tests.support.waiting import wait_for
from vh5d.cli.group import complain
from vh5d.errors import ServiceError
from vh5d.policy.secrets import without_passwords
from vh5d.service.capturing.tasks import make_app
from vh5d.service.catalog.address import connect
from vh5d.service.running.broker import Broker
from vh5d.service.running.state import Description, describe, private_directory


@pytest.fixture
def up(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    service = Up(data, tmp_path)
    yield service
    service.kill()


def write(path):
    with h5py.File(path, "w") as file:
        file["x"] = 1


def use(up, url):
    settings = json.loads(up.config.read_text())
    up.config.write_text(json.dumps({"broker": url, **settings}))


def seen_by_others(process: psutil.Process) -> str:
    """What any user may read of a service's processes."""
    processes = [process, *process.children(recursive=True)]
    return "\n".join(" ".join(each.cmdline()) for each in processes)


def check_it_works_and_tells_nothing(up, url):
    use(up, url)
    up.start()
    write(up.data / "a.h5")
    wait_for(lambda: up.said("version"), "a version", 60)
    shown = seen_by_others(psutil.Process(up.process.pid))
    assert " worker " in shown
    assert PASSWORD not in shown
    assert PASSWORD not in json.dumps(up.status())
    assert up.stop() == 0
    assert PASSWORD not in up.dump()
    assert PASSWORD not in up.errors.read_text()
    for path in up.state.rglob("*"):
        if path.is_file() and PASSWORD.encode() in path.read_bytes():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    with h5py.File(up.data / ".vh5d" / "a.h5") as store:
        assert list(store["_version_data/versions"])


def test_a_broker_with_a_password(up, locked_broker):
    check_it_works_and_tells_nothing(up, f"redis://:{PASSWORD}@127.0.0.1:{locked_broker}/0")


def test_a_broker_with_a_password_and_tls(up, tls_port, certificates):
    url = f"rediss://:{PASSWORD}@localhost:{tls_port}/0"
    options = f"ssl_cert_reqs=required&ssl_ca_certs={certificates}/ca.pem"
    check_it_works_and_tells_nothing(up, f"{url}?{options}")


def test_a_server_with_a_certificate_of_somebody_else_is_not_talked_to(tls_port):
    client = connect(f"rediss://:{PASSWORD}@localhost:{tls_port}/0?ssl_cert_reqs=required")
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        client.ping()


def test_the_queue_does_not_talk_to_such_a_server_either(tls_port):
    """Celery's own default is not to look at certificates."""
    with make_app(f"rediss://:{PASSWORD}@localhost:{tls_port}/0").connection() as connection:
        channel = connection.channel
        with pytest.raises(connection.connection_errors, match="certificate verify failed"):
            channel().client.ping()


@pytest.mark.parametrize("role", ["watch", "worker"])
def test_a_wrong_password_is_told_without_it(tmp_path, locked_broker, role):
    wrong = f"redis://:not-{PASSWORD}@127.0.0.1:{locked_broker}/0"
    process = subprocess.Popen(
        [sys.executable, "-m", "vh5d", role, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "VH5D_BROKER": wrong},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "password" in line or "AUTH" in line or "auth" in line:
                break
        process.kill()
        lines += process.stderr.readlines()
    assert "".join(lines)
    assert PASSWORD not in "".join(lines)


@pytest.mark.parametrize(
    "url", [f"redis://:{PASSWORD}#@host/0", f"{PASSWORD}", f"ftp://:{PASSWORD}@h"]
)
def test_an_address_that_is_none_is_not_repeated(tmp_path, url):
    done = subprocess.run(
        [sys.executable, "-m", "vh5d", "worker", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "VH5D_BROKER": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no address of a broker" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:secret@host/0 away", "redis://:***@host/0 away"),
        ("rediss://me:s/e@c@host:1/0", "rediss://me:***@host:1/0"),
        ("unix:///run/a.sock?password=secret&db=1", "unix:///run/a.sock?password=***&db=1"),
        ("redis+socket://u:secret@/x", "redis+socket://u:***@/x"),
        ("redis://host/0 and /data/me:x@y.h5", "redis://host/0 and /data/me:x@y.h5"),
    ],
)
def test_passwords_are_covered_in_whatever_is_shown(text, shown, capsys):
    assert without_passwords(text) == shown
    complain(text)
    assert capsys.readouterr().err == f"vh5d: {shown}\n"


# The state directory and the socket.


def test_what_a_service_says_of_itself_is_for_its_user_only(tmp_path):
    tmp_path.chmod(0o755)
    note = Description(1, f"redis://:{PASSWORD}@host", [], None, 0.0)
    describe(tmp_path, note)
    (tmp_path / "service.json").chmod(0o644)
    describe(tmp_path, note)
    assert stat.S_IMODE((tmp_path / "service.json").stat().st_mode) == 0o600


def test_state_directories_are_for_their_user_only(up):
    up.start()
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [up.state, *up.state.iterdir()]}
    assert modes.pop(up.state) == 0o700
    assert {path.name for path in modes} >= {"broker", "lock", "service.json"}
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes


def test_a_directory_for_the_socket_that_somebody_else_made_is_not_used(tmp_path, monkeypatch):
    # /tmp/vh5d-UID can be foreseen: whoever made it first had the queue.
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    planted = tmp_path / f"vh5d-{os.getuid()}"
    planted.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    broker = Broker(tmp_path / ("x" * 120))
    with pytest.raises(ServiceError, match="is not a directory of this user"):
        broker.start()
    planted.unlink()
    planted.mkdir()
    if os.geteuid() == 0:
        os.chown(planted, 12345, 12345)
        with pytest.raises(ServiceError, match="is not a directory of this user"):
            broker.start()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_private_directory_that_is_open_to_others_is_closed(tmp_path):
    directory = Path(tmp_path, "state")
    directory.mkdir(mode=0o755)
    private_directory(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
