"""Whole-file locks (flock) with a deadline, and who holds them."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vh5d.errors import StoreBusyError

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


@dataclass(frozen=True)
class HeldLock:
    """A line of /proc/locks: who locks which file.

    Attributes
    ----------
    device, inode
        The file, as in `os.stat_result`.
    pid
        The process that took the lock.
    kind
        "FLOCK", "POSIX", "OFDLCK", "LEASE"…
    exclusive
        Whether it is a write lock.
    """

    device: int
    inode: int
    pid: int
    kind: str
    exclusive: bool


def held_locks() -> list[HeldLock]:
    """All locks held on this machine, as far as this process may see them; see proc_locks(5)."""
    try:
        text = Path("/proc/locks").read_text(encoding="utf-8")
    except OSError:
        return []
    return list(_parse(text))


def _parse(text: str) -> Iterator[HeldLock]:
    # 1: FLOCK  ADVISORY  WRITE 812 fe:00:1048601 0 EOF
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] == "->":
            continue
        major, minor, inode = fields[5].split(":")
        yield HeldLock(
            device=os.makedev(int(major, 16), int(minor, 16)),
            inode=int(inode),
            pid=int(fields[4]),
            kind=fields[1],
            exclusive=fields[3] == "WRITE",
        )


def process_name(pid: int) -> str:
    """A process as people call it: "python3 (pid 812)"."""
    try:
        command = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        command = "a process"
    return f"{command} (pid {pid})"


def lock_holders(fd: int) -> str:
    """Who holds a whole-file lock on an open file, this descriptor's own aside."""
    stat = os.fstat(fd)
    pids = [
        lock.pid
        for lock in held_locks()
        if (lock.device, lock.inode, lock.kind) == (stat.st_dev, stat.st_ino, "FLOCK")
    ]
    return ", ".join(process_name(pid) for pid in dict.fromkeys(pids)) or "another process"


def deadline_after(timeout: float) -> float:
    """The monotonic time at which so many seconds will have passed."""
    return time.monotonic() + timeout


def try_lock(fd: int, operation: int) -> bool:
    """Take a whole-file lock if that is possible now."""
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def wait_until(attempt: Callable[[], bool], deadline: float, refusal: Callable[[], str]) -> None:
    """Try again, with growing pauses, until it works or the deadline passes.

    Raises
    ------
    StoreBusyError
        With the text of `refusal`, if the deadline passed.
    """
    pause = _FIRST_PAUSE
    while not attempt():
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreBusyError(refusal(), hint="try again when it is done")
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
