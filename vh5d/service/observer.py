"""Events of the file system, through watchdog: inotify, or polling where it cannot be had.

The only module that knows watchdog. Everything it hears goes into an `Inbox`; what it may have
missed (an overflow, a new directory, a watch that was lost) goes there as a place to look at.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer as NativeObserver
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserver

from vh5d.service.inbox import Inbox

#: Only these are asked of the kernel: a reader's opened and closed_no_write never get this far.
WANTED: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]

#: Seconds between two looks where inotify does not work.
POLLING_PAUSE = 1.0

#: watchdog tells of an overflow in its log only (7.1: `InotifyFD.handle_event`).
OVERFLOW_LOGGER = "watchdog.observers.inotify_c"

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Root:
    """A directory to watch."""

    path: Path
    recursive: bool = True


class _Handler(FileSystemEventHandler):
    """Events to inbox entries. It never raises: that would end the dispatching thread."""

    def __init__(self, inbox: Inbox, ignored: Callable[[str], bool]) -> None:
        self._inbox = inbox
        self._ignored = ignored

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            self._note(event)
        except Exception as error:  # noqa: BLE001 - repaired by a look at the disk
            log.warning("event not understood, looking at the disk", error=repr(error))
            self._inbox.look_everywhere()

    def _note(self, event: FileSystemEvent) -> None:
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if event.event_type == "moved":
            self._note_move(source, target, directory=event.is_directory)
        elif self._ignored(source):
            return
        elif event.is_directory:
            # Files may have been written before the watch on a new directory was there; files
            # that went away with a directory are not told of one by one.
            self._inbox.look_into(Path(source))
        elif event.event_type == "deleted":
            self._inbox.deleted(Path(source))
        elif event.event_type == "closed":
            self._inbox.closed(Path(source))
        else:
            self._inbox.changed(Path(source))

    def _note_move(self, source: str, target: str, *, directory: bool) -> None:
        from_us, to_us = not self._ignored(source), not self._ignored(target)
        if directory:
            for path, ours in ((source, from_us), (target, to_us)):
                if ours:
                    self._inbox.look_into(Path(path))
        elif from_us and to_us:
            self._inbox.moved(Path(source), Path(target))
        elif to_us:
            self._inbox.closed(Path(target))
        elif from_us:
            self._inbox.deleted(Path(source))


class _OverflowListener(logging.Handler):
    def __init__(self, inbox: Inbox) -> None:
        super().__init__(logging.WARNING)
        self._inbox = inbox

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._inbox.look_everywhere()


class DirectoryObserver:
    """Watches directories and says what happened in them.

    Parameters
    ----------
    roots
        Directories to watch; one that is not there is watched as soon as it appears.
    inbox
        Where events go.
    ignored
        Tells which paths are of no interest (stores, locks).
    polling
        Do without inotify.
    """

    def __init__(
        self,
        roots: Iterable[Root],
        inbox: Inbox,
        ignored: Callable[[str], bool],
        *,
        polling: bool = False,
    ) -> None:
        self._roots = list(roots)
        self._inbox = inbox
        self._handler = _Handler(inbox, ignored)
        self._overflow = _OverflowListener(inbox)
        self._watches: dict[Root, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._observer: BaseObserver = PollingObserver()
        self._short = False
        self.polling = polling

    def start(self) -> None:
        """Begin; falls back to polling when inotify refuses."""
        logging.getLogger(OVERFLOW_LOGGER).addHandler(self._overflow)
        self._start_observer()
        self.check()

    def stop(self) -> None:
        """End; no event comes afterwards."""
        logging.getLogger(OVERFLOW_LOGGER).removeHandler(self._overflow)
        self._stop_observer()

    def check(self) -> bool:
        """Mend what broke: a dead thread, a root that went away, came back, or is another one.

        Returns
        -------
        bool
            Something was mended; the places it concerns are in the inbox.
        """
        if not self._observer.is_alive():
            log.warning("the observer died, starting another")
            self._restart()
            return True
        mended = False
        for root in self._roots:
            identity, watched = _identity(root.path), self._watches.get(root)
            if watched is not None and (watched[1] != identity or not self._emits(watched[0])):
                self._drop(root)
                watched = None
            if watched is None and identity is not None:
                self._watch(root, identity)
                mended = True
        return mended

    def unwatched_roots(self) -> list[Path]:
        """Roots that are not there or cannot be watched."""
        return [root.path for root in self._roots if root not in self._watches]

    def audit(self, directories: int) -> None:
        """Compare with the number of directories there are; too few watches: poll instead.

        The kernel's limit on watches (`fs.inotify.max_user_watches`) is not an error to watchdog
        for any directory but a root.
        """
        if self.polling or inotify_watches() >= directories:
            self._short = False
            return
        if not self._short:
            # New directories get their watches a moment after they are there: look again.
            self._short = True
            self._inbox.look_everywhere()
            return
        log.warning(
            "not every directory can be watched, polling instead",
            directories=directories,
            watches=inotify_watches(),
            hint="raise the sysctl fs.inotify.max_user_watches",
        )
        self.polling = True
        self._restart()

    def _restart(self) -> None:
        self._stop_observer()
        self._start_observer()
        for root in self._roots:
            identity = _identity(root.path)
            if identity is not None:
                self._watch(root, identity)
        self._inbox.look_everywhere()

    def _start_observer(self) -> None:
        if not self.polling:
            try:
                self._observer = NativeObserver()
                self._observer.start()
                return
            except OSError as error:
                log.warning("inotify cannot be used, polling instead", error=str(error))
                self.polling = True
        self._observer = PollingObserver(timeout=POLLING_PAUSE)
        self._observer.start()

    def _stop_observer(self) -> None:
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5.0)
        self._watches.clear()

    def _watch(self, root: Root, identity: tuple[int, int]) -> None:
        try:
            watch = self._observer.schedule(
                self._handler, str(root.path), recursive=root.recursive, event_filter=WANTED
            )
        except OSError as error:
            log.warning("cannot watch", path=str(root.path), error=str(error))
            if not self.polling and _identity(root.path) is not None:
                self.polling = True
                self._restart()
            return
        self._watches[root] = (watch, identity)
        self._inbox.look_into(root.path)

    def _drop(self, root: Root) -> None:
        watch, _ = self._watches.pop(root)
        log.warning("watch lost", path=str(root.path))
        if self._emits(watch, alive=False):
            self._observer.unschedule(watch)

    def _emits(self, watch: ObservedWatch, *, alive: bool = True) -> bool:
        return any(
            emitter.watch == watch and (emitter.is_alive() or not alive)
            for emitter in self._observer.emitters
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def inotify_watches() -> int:
    """Watches that this process holds, from `/proc/self/fdinfo` (proc(5), "inotify wd:")."""
    watches = 0
    for descriptor in Path("/proc/self/fdinfo").iterdir():
        try:
            info = descriptor.read_text()
        except OSError:
            continue
        watches += sum(line.startswith("inotify wd:") for line in info.splitlines())
    return watches
