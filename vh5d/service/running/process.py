"""Children that do not outlive their parent, and their orderly end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

#: prctl(2), linux/prctl.h
_PR_SET_PDEATHSIG = 1

#: Runs before a program that knows nothing of us: asks the kernel for a signal when the parent
#: dies (kept across execve), makes sure that it did not die in between, and becomes the program.
_GUARD = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, int(sys.argv[1]), 0, 0, 0)\n"
    "if os.getppid() != int(sys.argv[2]): sys.exit(1)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


def die_with_parent(parent: int, signum: signal.Signals) -> None:
    """Have the kernel send `signum` to this process when its parent dies.

    Parameters
    ----------
    parent
        Process id of the parent; when it is another by now, the signal is sent at once.
    signum
        What to send.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)


def spawn(
    command: Sequence[str],
    *,
    guard: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: int | IO[bytes] | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own: a Ctrl-C on the terminal is for us to handle.

    To be called from a thread that lives as long as the process: the kernel takes the end of the
    thread that forked for the death of the parent.

    Parameters
    ----------
    guard
        For a foreign program: it gets SIGTERM when this process dies.
    output
        Where standard output and error go.
    inherited
        Descriptors that it has, too.
    """
    if guard and sys.platform == "linux":
        prefix = [sys.executable, "-I", "-S", "-c", _GUARD, str(int(signal.SIGTERM))]
        command = [*prefix, str(os.getpid()), *command]
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        env=dict(env) if env is not None else None,
        cwd=cwd,
        start_new_session=True,
        pass_fds=inherited,
    )


def end(child: subprocess.Popen[bytes], timeout: float) -> int:
    """SIGTERM, and SIGKILL after `timeout` seconds; the exit status."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()


def kill_group(leader: int) -> None:
    """SIGKILL to every process in the group that `leader` began, dead or alive."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
