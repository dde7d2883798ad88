"""Programs of the user: run with JSON on standard input, for so long and no longer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any

from vh5d.errors import ServiceError
from vh5d.service.running.process import kill_group

#: Seconds that a program may take.
LIMIT = 300.0
#: Seconds from SIGTERM to SIGKILL.
GRACE = 5.0
#: Bytes of its last words that are kept.
WORDS = 1000
#: Ours in the environment begin so; those of this process stay with it: one is the broker's
#: address, perhaps with a password.
_OURS = "VH5D_"


def run(command: Sequence[str], told: Mapping[str, Any], *, limit: float = LIMIT) -> None:
    """Run a program to its end.

    Parameters
    ----------
    told
        What it finds on standard input as JSON, and in its environment, as far as that is text,
        a number or true or false: `VH5D_PATH` for `path`.
    limit
        Seconds.

    Raises
    ------
    ServiceError
        It cannot be started, takes too long or ends with another status than 0.
    """
    with tempfile.TemporaryFile() as given:
        given.write(json.dumps(told).encode())
        given.seek(0)
        try:
            child = subprocess.Popen(
                list(command),
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment(os.environ, told),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise ServiceError(f"{command[0]}: {error.strerror}") from error
        except ValueError as error:
            raise ServiceError(f"{command[0]}: {error}") from error
        words = _Words(child.stderr)
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            _end(child)
            raise ServiceError(f"{command[0]}: took longer than {limit:g} s") from None
    if status != 0:
        said = words.take()
        raise ServiceError(f"{command[0]}: ended with {status}" + (f": {said}" if said else ""))


def environment(own: Mapping[str, str], told: Mapping[str, Any]) -> dict[str, str]:
    """What the program finds in its environment."""
    common = {name: value for name, value in own.items() if not name.startswith(_OURS)}
    ours = {
        _OURS + name.upper(): _word(value)
        for name, value in told.items()
        if name.isidentifier() and isinstance(value, str | int | float) and "\0" not in str(value)
    }
    return common | ours


def _word(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _end(child: subprocess.Popen[bytes]) -> None:
    os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    kill_group(child.pid)
    child.wait()


class _Words:
    """The end of what a program says; what it leaves running may hold the other end for ever."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        self._stream = stream
        self._said = b""
        self._thread = threading.Thread(target=self._read, name="words", daemon=True)
        self._thread.start()

    def take(self) -> str:
        """The last of them, in one line."""
        self._thread.join(1.0)
        return " ".join(self._said.decode(errors="replace").split())

    def _read(self) -> None:
        with self._stream as stream:
            while more := os.read(stream.fileno(), 1 << 16):
                self._said = (self._said + more)[-WORDS:]
