"""A second Python process that does something to a file and holds it until told to stop."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

_HOLD = "\nprint('ready', flush=True)\nimport sys\nsys.stdin.readline()\n"


@contextlib.contextmanager
def other_process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run code in another process; inside the block it has finished, but the process lives on.

    What the code prints after the block's end comes from `process.stdout`.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code + _HOLD, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.stdin.close()


def run(code: str, *arguments: object) -> str:
    """Run code in another process to its end; what it printed, and the signal that killed it."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    killed = f"killed by signal {-done.returncode}" if done.returncode < 0 else ""
    return (done.stdout + done.stderr + killed).strip()
