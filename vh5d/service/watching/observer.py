"""Events of the file system, through watchdog: inotify, or polling where it cannot be had.

The only module that knows watchdog. Everything it hears goes into an `Inbox`; what it may have
missed (an overflow, a new directory, a watch that was lost) goes there as a place to look at.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
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

from vh5d.service.watching.canary import NAME, NEST, Canary, Habits
from vh5d.service.watching.inbox import Inbox
from vh5d.service.watching.presence import Identity
from vh5d.service.watching.roots import Root, WatchedRoot
from vh5d.service.watching.sight import RootHealth, shared_file_system, unwatched, watched_inodes

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

_CANARY = f"/{NEST}/{NAME}"

log = structlog.stdlib.get_logger(__name__)


#: Seconds between two attempts to hear of a canary again by beginning anew.
REVIVAL_PAUSE = 60.0

HABITS = Habits()


class _Handler(FileSystemEventHandler):
    """Events to inbox entries. It never raises: that would end the dispatching thread."""

    def __init__(
        self, inbox: Inbox, ignored: Callable[[str], bool], heard: Callable[[str], None]
    ) -> None:
        self._inbox = inbox
        self._ignored = ignored
        self._heard = heard

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            self._note(event)
        except Exception as error:  # noqa: BLE001 - repaired by a look at the disk
            log.warning("event not understood, looking at the disk", error=repr(error))
            self._inbox.look_everywhere()

    def _note(self, event: FileSystemEvent) -> None:
        source, target = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if source.endswith(_CANARY):
            self._heard(source)
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
    """Watches directories, says what happened in them, and knows how well it sees.

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
    habits
        How often the roots are looked at.
    """

    def __init__(
        self,
        roots: Iterable[Root],
        inbox: Inbox,
        ignored: Callable[[str], bool],
        *,
        polling: bool = False,
        habits: Habits = HABITS,
    ) -> None:
        self._inbox = inbox
        self._handler = _Handler(inbox, ignored, self._heard)
        self._overflow = _OverflowListener(inbox)
        self._watched = {
            root.path: WatchedRoot(root, Canary(root.path, habits, sings=root.nest))
            for root in roots
        }
        self._watches: dict[Path, list[ObservedWatch]] = {}
        self._native: BaseObserver | None = None
        self._pollers: dict[float, BaseObserver] = {}
        self._asked_to_poll = polling
        self._why_polling = "as asked" if polling else None
        self._short = False
        self._clock = time.monotonic
        self._revive_at = 0.0

    @property
    def polling(self) -> bool:
        """Whether inotify is done without."""
        return self._why_polling is not None

    def start(self) -> None:
        """Begin; falls back to polling when inotify refuses."""
        logging.getLogger(OVERFLOW_LOGGER).addHandler(self._overflow)
        for each in self._watched.values():
            each.canary.start()
        self._start_observers()
        self.check()

    def stop(self) -> None:
        """End; no event comes afterwards."""
        logging.getLogger(OVERFLOW_LOGGER).removeHandler(self._overflow)
        for each in self._watched.values():
            each.canary.stop()
        self._stop_observers()

    def check(self) -> bool:
        """Mend what broke: a dead thread, a root that went away, came back, or is another one.

        Returns
        -------
        bool
            Something was mended; the places it concerns are in the inbox.
        """
        if not all(each.is_alive() for each in self._observers()):
            log.warning("an observer died, starting another")
            self._restart()
            return True
        mended = False
        for each in self._watched.values():
            if each.canary.hangs():
                continue
            found = each.present()
            if each.watched and (found != each.canary.watched or not self._emits(each)):
                self._drop(each)
            if not each.watched and found is not None:
                self._watch(each, found)
                mended = mended or each.watched
        return self._heed_canaries() or mended

    def health(self) -> list[RootHealth]:
        """How well each root is seen."""
        return [each.health() for each in self._watched.values()]

    def ailment(self) -> str | None:
        """What a start of the whole process might cure; None: nothing."""
        if not all(each.is_alive() for each in self._observers()):
            return "an observer died"
        ailments = (each.canary.ailment() for each in self._watched.values())
        return next(filter(None, ailments), None)

    def hung(self) -> list[Path]:
        """Roots that do not answer: whoever asks them hangs, too."""
        return [path for path, each in self._watched.items() if each.canary.hangs()]

    def identity(self, root: Path) -> Identity | None:
        """What `root` was when it began to be watched; None: it is not watched now."""
        each = self._watched.get(root)
        return each.canary.watched if each is not None and each.watched else None

    def unheard(self) -> set[Path]:
        """Directories that events do not tell everything of: to be looked at often."""
        return {place for each in self._watched.values() for place in each.unheard()}

    def due(self, now: float) -> set[Path]:
        """Those of `unheard` that are to be looked at now; `now`: in seconds, of any beginning."""
        places: set[Path] = set()
        for each in self._watched.values():
            if now - each.looked_at >= (each.root.interval or POLLING_PAUSE):
                each.looked_at = now
                places |= each.unheard()
        return places

    def unwatched_roots(self) -> list[Path]:
        """Roots that are not there or cannot be watched."""
        return [path for path, each in self._watched.items() if not each.watched]

    def audit(self, directories: Mapping[Path, int]) -> None:
        """Find out which of the directories that there are have no watch.

        The kernel's limit on watches (`fs.inotify.max_user_watches`) is not an error to watchdog
        for any directory but a root.
        """
        native = [
            each
            for each in self._watched.values()
            if each.watched and not each.polled and each.root.recursive
        ]
        inside = {
            path: inode
            for path, inode in directories.items()
            if any(path.is_relative_to(each.root.path) for each in native)
        }
        missing = unwatched(inside, watched_inodes()) if inside else set()
        if missing and not self._short:
            # New directories get their watches a moment after they are there: look again.
            self._short = True
            self._inbox.look_everywhere()
            return
        self._short = False
        for each in native:
            self._note_unwatched(each, missing)

    def _note_unwatched(self, each: WatchedRoot, missing: Collection[Path]) -> None:
        below = frozenset(path for path in missing if path.is_relative_to(each.root.path))
        if below and not each.unwatched:
            log.error(
                "not every directory can be watched, polling those",
                path=str(each.root.path),
                directories=len(below),
                hint="raise the sysctl fs.inotify.max_user_watches",
            )
        each.unwatched = below

    def _heard(self, canary: str) -> None:
        for each in self._watched.values():
            each.canary.heard(canary)

    def _heed_canaries(self) -> bool:
        """Begin anew when a canary is not heard: a thread may have died unseen."""
        lost = [each for each in self._watched.values() if each.watched and each.canary.lost()]
        for each in self._watched.values():
            if each.lost and each not in lost:
                self._inbox.look_into(each.root.path)
            elif each in lost and not each.lost:
                log.error("events do not arrive, looking often", path=str(each.root.path))
            each.lost = each in lost
        now = self._clock()
        if not lost or now < self._revive_at:
            return False
        self._revive_at = now + REVIVAL_PAUSE
        self._restart()
        return True

    def _restart(self) -> None:
        self._stop_observers()
        self._start_observers()
        for each in self._watched.values():
            found = each.present()
            if found is not None and not each.canary.hangs():
                self._watch(each, found)
        self._inbox.look_everywhere()

    def _start_observers(self) -> None:
        if self._why_polling is not None:
            return
        # Of directories that may not be read (watchdog 7.1); a look at the disk tells of them.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        try:
            native = NativeObserver()
            native.start()
        except OSError as error:
            log.warning("inotify cannot be used, polling instead", error=str(error))
            self._why_polling = f"inotify: {error.strerror}"
        else:
            self._native = native

    def _stop_observers(self) -> None:
        for observer in self._observers():
            if observer.is_alive():
                observer.stop()
                observer.join(timeout=5.0)
        self._native = None
        self._pollers.clear()
        self._watches.clear()
        for each in self._watched.values():
            each.watched = False

    def _watch(self, each: WatchedRoot, found: Identity) -> None:
        path = each.root.path
        each.shared = shared_file_system(Path(os.path.realpath(path)))
        before, method = each.reason, each.root.method
        each.reason = "as the policy says" if method == "polling" else self._why_polling
        each.polled = method == "polling" or self._native is None
        if not each.polled and self._native is not None and not self._schedule(each, self._native):
            each.polled = True
            if method == "auto":
                log.error("cannot be watched, polling it", path=str(path), error=each.reason)
        if each.polled and (
            method == "inotify" or not self._schedule(each, self._polling_observer(each.root))
        ):
            if each.reason != before:
                log.error("cannot be watched", path=str(path), error=each.reason)
            return
        each.mount = each.mount or each.canary.mount
        each.canary.begin_anew(found)
        self._inbox.look_into(path)

    def _schedule(self, each: WatchedRoot, observer: BaseObserver) -> bool:
        path, recursive = each.root.path, each.root.recursive
        try:
            watches = [
                observer.schedule(
                    self._handler, str(path), recursive=recursive, event_filter=WANTED
                )
            ]
            if each.root.nest and not recursive and each.canary.make_nest():
                nest = str(each.canary.path.parent)
                watches.append(observer.schedule(self._handler, nest, event_filter=WANTED))
        except OSError as error:
            each.reason = error.strerror or str(error)
            return False
        self._watches[path] = watches
        each.watched = True
        return True

    def _polling_observer(self, root: Root) -> BaseObserver:
        asked = root.method == "polling" or not self._asked_to_poll
        pause = (root.interval or POLLING_PAUSE) if asked else POLLING_PAUSE
        if pause not in self._pollers:
            self._pollers[pause] = PollingObserver(timeout=pause)
            self._pollers[pause].start()
        return self._pollers[pause]

    def _observers(self) -> list[BaseObserver]:
        return [*([self._native] if self._native is not None else []), *self._pollers.values()]

    def _drop(self, each: WatchedRoot) -> None:
        log.warning("watch lost", path=str(each.root.path))
        for watch in self._watches.pop(each.root.path):
            for observer in self._observers():
                if watch in {each.watch for each in observer.emitters}:
                    observer.unschedule(watch)
        each.watched, each.unwatched = False, frozenset()
        each.canary.begin_anew(None)

    def _emits(self, each: WatchedRoot) -> bool:
        alive = {
            emitter.watch
            for observer in self._observers()
            for emitter in observer.emitters
            if emitter.is_alive()
        }
        return alive.issuperset(self._watches[each.root.path])
