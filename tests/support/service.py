"""`vh5d up` as a user runs it: a process, its log, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]


class Up:
    """A service on a directory, with a short settle time.

    Parameters
    ----------
    data
        The watched directory.
    home
        Where configuration and state go.
    """

    def __init__(self, data: Path, home: Path, *, settle: str = "300ms", **policy: str) -> None:
        self.data = data
        self.config = home / "vh5d.yaml"
        self.state = home / "state"
        settings = {"name": "test", "watch": str(data), "settle": settle, **policy}
        self.config.write_text(json.dumps({"policies": [settings]}))
        self.errors = home / "errors"
        self.arguments: list[str] = []
        self.program: Sequence[str] = ("vh5d",)
        self.records: list[dict[str, Any]] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self, prefix: Sequence[str] = ()) -> Up:
        """Start it, as the program that `prefix` runs, if any."""
        arguments = ("--config", self.config, "--state", self.state, "--json", *self.arguments)
        with self.errors.open("ab") as errors:
            self.process = run_vh5d(
                "up", *arguments, errors=errors, prefix=prefix, program=self.program
            )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        wait_for(lambda: self.child("watch") and self.child("worker"), "the roles", timeout=120)
        return self

    def stop(self) -> int:
        """SIGTERM, as systemd does; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self._reader.join(10)
        return status

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self._reader.join(10)

    def child(self, role: str) -> psutil.Process | None:
        """The process of a role, when it runs."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            try:
                command = child.cmdline()
            except psutil.Error:
                continue
            if not command:
                continue  # dead, and not waited for yet
            if role in command[1:6] or (role == "broker" and "valkey-server" in command[0]):
                return child
        return None

    def status(self) -> dict[str, Any]:
        done = run_vh5d("status", "--state", self.state, "--json")
        output, errors = done.communicate(timeout=60)
        assert done.returncode == 0, errors
        return json.loads(output)

    def dump(self) -> str:
        return "\n".join(map(str, self.records))

    def said(self, event: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["event"] == event]

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                self.records.append(json.loads(line))


def run_vh5d(
    *arguments: object,
    errors: int | IO[bytes] = subprocess.PIPE,
    prefix: Sequence[str] = (),
    program: Sequence[str] = ("vh5d",),
) -> subprocess.Popen[str]:
    """The command line, in a process of its own; as another module does, with arguments first."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", *program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
