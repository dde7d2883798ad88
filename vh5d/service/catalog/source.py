"""One source, as the service knows it: where it stands, its file, why it is captured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum

from vh5d.service.catalog.queues import QUEUE

#: Why a capture is asked for: an event, a look at the disk, an earlier failure, a file that was
#: written for longer than its policy waits, one that grows.
CHANGE, RESCAN, RETRY, MAX_WAIT, SWMR = "change", "rescan", "retry", "max_wait", "swmr"


class State(StrEnum):
    """Where a source stands."""

    SETTLING = "settling"
    QUEUED = "queued"
    CAPTURING = "capturing"
    CURRENT = "current"
    GROWING = "growing"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    UNCLEAN = "unclean"
    TOO_LARGE = "too-large"
    QUOTA = "quota"
    EMPTIED = "emptied"
    MISSING = "missing"


@dataclass(frozen=True)
class FileStat:
    """What tells one state of a file from another without reading it."""

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileStat:
        """What stat(2) said."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev)


@dataclass(frozen=True)
class Source:
    """One source. Times are seconds since the epoch.

    `size`, `mtime_ns`, `inode` and `device` are those of the state that was last dealt with:
    captured, or given up; `root_inode` is that of the watched directory at that time. `capture` is
    the id of the capture that was asked for last; `settled_at` is when the state had come to rest
    that is being captured. `gone` is how the file went (`deleted`, `moved`, `emptied`), `gone_at`
    when, `moved_to` where to, if that is known. `follows` are the files that it leads to: path from
    its directory, size, time of modification.
    """

    path: str = ""
    policy: str = ""
    queue: str = QUEUE
    state: State = State.SETTLING
    store: str | None = None
    version: str | None = None
    kept_as: str | None = None
    error: str | None = None
    cause: str | None = None
    attempts: int = 0
    busy: int = 0
    next_try: float | None = None
    moved_from: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    inode: int | None = None
    device: int | None = None
    root_inode: int | None = None
    bytes_added: int | None = None
    seconds: float | None = None
    captured_at: float | None = None
    progress: float | None = None
    capture: str | None = None
    settled_at: float | None = None
    gone: str | None = None
    gone_at: float | None = None
    moved_to: str | None = None
    follows: list[tuple[str, int, int]] | None = None

    @property
    def stat(self) -> FileStat | None:
        """The state last dealt with."""
        if None in (self.size, self.mtime_ns, self.inode, self.device):
            return None
        return FileStat(self.size, self.mtime_ns, self.inode, self.device)  # type: ignore[arg-type]
