"""Does a watched directory answer, and do its events arrive: asked again and again.

A thread for each root looks at it and, now and then, writes a file into its `.vh5d` directory.
What the file system does not tell of that write, it does not tell of others. A share that hangs,
hangs the thread alone.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vh5d.capture.home import make_nest
from vh5d.service.watching.presence import Identity, identity
from vh5d.service.watching.sight import is_mounted

#: Where the canary sits, below a root.
NEST = ".vh5d"
NAME = ".canary"


@dataclass(frozen=True)
class Habits:
    """How often, and how patiently. Seconds.

    Parameters
    ----------
    look
        Between two looks at the root.
    sing
        Between two writes.
    patience
        Longest that the event of a write may take.
    hung_after
        A look that takes longer: the root does not answer.
    """

    look: float = 1.0
    sing: float = 10.0
    patience: float = 20.0
    hung_after: float = 10.0


class Canary:
    """One root's.

    Parameters
    ----------
    root
        The watched directory; nothing is written unless it is the one that is watched.
    habits
        How often to do what.
    sings
        Whether it may write: stores are kept in the root, too.
    clock
        Seconds that do not go back.
    """

    def __init__(
        self,
        root: Path,
        habits: Habits,
        *,
        sings: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.path = root / NEST / NAME
        self._habits = habits
        self._clock = clock
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._began: float | None = None
        self._sing_at = 0.0
        self._unheard_since: float | None = None
        self._thread: threading.Thread | None = None
        self.was_heard = False
        self.identity: Identity | None = None
        self.watched: Identity | None = None
        self.mount = False
        self.silent: str | None = None if sings else "stores are elsewhere"

    def start(self) -> None:
        """Begin; returns after the first look, or when the root takes too long for that."""
        self._thread = threading.Thread(target=self._live, name=f"canary {self.root}", daemon=True)
        self._thread.start()
        self._looked.wait(self._habits.hung_after)

    def stop(self) -> None:
        """End, sometime."""
        self._stop.set()

    def hangs(self) -> bool:
        """Whether the root does not answer."""
        began = self._began
        return began is not None and self._clock() - began > self._habits.hung_after

    def lost(self) -> bool:
        """Whether a write was not heard of in time."""
        since = self._unheard_since
        return since is not None and self._clock() - since > self._habits.patience

    def heard(self, path: str) -> None:
        """An event told of this path."""
        if path == str(self.path):
            self._unheard_since = None
            self.was_heard = True

    def ailment(self) -> str | None:
        """What a start of the whole process might cure; None: nothing.

        Where it was never heard, or where the root hangs, that would cure nothing.
        """
        if self._thread is not None and not self._thread.is_alive() and not self._stop.is_set():
            return f"nobody looks at {self.root} any more"
        if self.was_heard and self.lost() and not self.hangs():
            return f"events of {self.root} do not arrive any more"
        return None

    def begin_anew(self, watched: Identity | None) -> None:
        """Another watch is on the root, or none. A canary that was lost is until it is heard."""
        if watched != self.watched:
            self._unheard_since = None
        self.watched = watched
        self._sing_at = self._clock()

    def make_nest(self) -> bool:
        """Make the directory it sits in."""
        try:
            make_nest(self.root, NEST)
        except OSError as error:
            self.silent = f"{self.path.parent}: {error.strerror}"
            return False
        return True

    def _live(self) -> None:
        while not self._stop.is_set():
            self._began = self._clock()
            self.identity = identity(self.root)
            self.mount = self.identity is not None and is_mounted(self.root)
            if self.identity is not None and self.identity == self.watched:
                self._sing()
            self._began = None
            self._looked.set()
            self._stop.wait(self._habits.look)

    def _sing(self) -> None:
        now = self._clock()
        if self.silent == "stores are elsewhere" or now < self._sing_at:
            return
        self._sing_at = now + self._habits.sing
        if self._unheard_since is None:
            self._unheard_since = now
        try:
            self._write()
        except OSError as error:
            # Nobody may write there, or nothing fits: then nothing is proven either way.
            self._unheard_since = None
            self.silent = f"{self.path}: {error.strerror}"
        else:
            self.silent = None

    def _write(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            make_nest(self.root, NEST)
            descriptor = os.open(self.path, flags, 0o600)
        try:
            # Eight bytes in place: even a full disk has room for them once they are there.
            if os.pwrite(descriptor, f"{time.time_ns() % 10**8:08}".encode(), 0) == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
