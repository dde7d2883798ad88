"""Servers that somebody is told by: a web server and a mail server, real ones, in threads."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Heard:
    """What arrived; `answers` are the statuses to give next, then 200 (or 250)."""

    port: int = 0
    messages: list[Any] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)


@contextlib.contextmanager
def webhook() -> Iterator[Heard]:
    """A web server that takes JSON."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = heard.answers.pop(0) if heard.answers else 200
            if status == 200:
                heard.messages.append(json.loads(body))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            heard.messages.append("a redirected GET")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard.port = server.server_port
    with _serving(server):
        yield heard


@contextlib.contextmanager
def mail_server(*, login: bool = False) -> Iterator[Heard]:
    """A mail server (RFC 5321), as far as a message needs one."""
    heard = Heard()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 ready")
            while line := self.rfile.readline().decode().strip():
                word = line.split(maxsplit=1)[0].upper()
                if word == "EHLO":
                    self.say("250-here" if login else "250 here")
                    if login:
                        self.say("250 AUTH PLAIN")
                elif word == "AUTH":
                    heard.logins.append(line)
                    self.say(f"{heard.answers.pop(0) if heard.answers else 235} {line}")
                elif word == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (text := self.rfile.readline()) not in {b".\r\n", b""}:
                        lines.append(text)
                    heard.messages.append(b"".join(lines))
                    self.say("250 taken")
                elif word == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 well")

        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    heard.port = server.server_address[1]
    with _serving(server):
        yield heard


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
