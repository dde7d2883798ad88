"""What the file system told, one entry a file, until the watcher takes it.

A flood of events costs no more memory than the number of files it is about, and past a limit
even that is given up for one note: look at everything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

#: More files than this in one batch: a look at the whole tree is cheaper than the list.
LIMIT = 100_000


class Kind(StrEnum):
    """The last thing that happened to a file."""

    CHANGED = "changed"
    CLOSED = "closed"
    DELETED = "deleted"
    FOUND = "found"


@dataclass(frozen=True)
class Change:
    """What is known of one file since the last batch.

    Parameters
    ----------
    kind
        The last event.
    at
        When, in seconds of the inbox's clock; for `FOUND`, when the file was last modified.
    moved_from
        Name the file had before, when it was renamed.
    """

    kind: Kind
    at: float
    moved_from: Path | None = None


@dataclass
class Batch:
    """Everything since the batch before, in the order of first mention."""

    changes: dict[Path, Change] = field(default_factory=dict)
    directories: set[Path] = field(default_factory=set)
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.changes or self.directories or self.everything)


class Inbox:
    """Thread-safe meeting point of the observer, the rescan and the watcher."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, limit: int = LIMIT) -> None:
        self.clock = clock
        self._limit = limit
        self._lock = threading.Lock()
        self._filled = threading.Event()
        self._batch = Batch()

    def changed(self, path: Path) -> None:
        """Something wrote to the file, or it appeared."""
        self._put(path, Kind.CHANGED)

    def closed(self, path: Path) -> None:
        """A writer closed the file."""
        self._put(path, Kind.CLOSED)

    def deleted(self, path: Path) -> None:
        """The name is gone."""
        self._put(path, Kind.DELETED)

    def moved(self, source: Path, target: Path) -> None:
        """The file has another name."""
        with self._lock:
            before = self._batch.changes.get(source)
            origin = before.moved_from if before and before.moved_from else source
            now = self.clock()
            self._batch.changes[source] = Change(Kind.DELETED, now)
            self._batch.changes[target] = Change(Kind.CLOSED, now, moved_from=origin)
            self._settle_size()

    def found(self, files: Iterable[tuple[Path, float]]) -> None:
        """Files a look at the disk found changed, each with the time it was last modified."""
        with self._lock:
            for path, at in files:
                self._batch.changes.setdefault(path, Change(Kind.FOUND, at))
            self._filled.set()

    def look_into(self, directory: Path) -> None:
        """A directory whose files may have changed unseen."""
        with self._lock:
            self._batch.directories.add(directory)
            self._settle_size()

    def look_everywhere(self) -> None:
        """Events were lost."""
        with self._lock:
            self._batch.everything = True
            self._filled.set()

    def wait(self, timeout: float) -> None:
        """Until there is something, at most `timeout` seconds."""
        self._filled.wait(timeout)

    def wake(self) -> None:
        """End a wait."""
        self._filled.set()

    def take(self) -> Batch:
        """Everything so far; the inbox is empty afterwards."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
            self._filled.clear()
            return batch

    def _put(self, path: Path, kind: Kind) -> None:
        with self._lock:
            change = Change(kind, self.clock())
            before = self._batch.changes.get(path)
            if before is not None and kind is not Kind.DELETED:
                change = replace(change, moved_from=before.moved_from)
            self._batch.changes[path] = change
            self._settle_size()

    def _settle_size(self) -> None:
        if len(self._batch.changes) + len(self._batch.directories) > self._limit:
            self._batch = Batch(everything=True)
        self._filled.set()
