"""A watched directory: how it is watched, and how well that works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vh5d.service.canary import Canary
from vh5d.service.presence import Identity
from vh5d.service.sight import RootHealth, Sight


@dataclass(frozen=True)
class Root:
    """A directory to watch; `nest`: stores are kept in its `.vh5d`, and a canary may be."""

    path: Path
    recursive: bool = True
    nest: bool = False


@dataclass
class WatchedRoot:
    """A root, as it is being watched.

    Parameters
    ----------
    watched
        Whether there is a watch on it.
    polled
        Whether that does without inotify, for this `reason`.
    shared
        Type of its file system, if other machines write to that.
    unwatched
        Directories in it that have no watch.
    mount
        Whether something was mounted there when it began to be watched.
    lost
        Whether the last canary was not heard of.
    """

    root: Root
    canary: Canary
    watched: bool = False
    polled: bool = False
    reason: str | None = None
    shared: str | None = None
    unwatched: frozenset[Path] = frozenset()
    mount: bool = False
    lost: bool = False

    def present(self) -> Identity | None:
        """Which directory it is; None: it is not there, or what was mounted there is not."""
        return None if self.mount and not self.canary.mount else self.canary.identity

    def unheard(self) -> frozenset[Path]:
        """Directories that events do not tell everything of, as far as they can be looked at."""
        if self.canary.hangs() or self.present() is None:
            return frozenset()
        if self.shared or not self.watched or self.canary.lost():
            return frozenset([self.root.path])
        return self.unwatched

    def health(self) -> RootHealth:
        """How well it is seen."""
        return self._unseen() or RootHealth(self.root.path, *self._seen())

    def _unseen(self) -> RootHealth | None:
        path, canary = self.root.path, self.canary
        if canary.hangs():
            return RootHealth(path, Sight.BLIND, "does not answer")
        if self.present() is None:
            reason = "is not there" if canary.identity is None else "is not mounted"
            return RootHealth(path, Sight.GONE, reason)
        if not self.watched:
            return RootHealth(path, Sight.BLIND, self.reason or "cannot be watched")
        if canary.lost():
            return RootHealth(path, Sight.BLIND, "events do not arrive")
        return None

    def _seen(self) -> tuple[Sight, str | None]:
        if self.polled:
            return Sight.POLLING, self.reason
        if self.shared:
            return Sight.POLLING, f"{self.shared}: other machines write unheard"
        if self.unwatched:
            limit = "over the limit of inotify watches"
            return Sight.POLLING, f"{len(self.unwatched)} directories are {limit}"
        silent = self.canary.silent
        return Sight.EVENTS, f"unproven: {silent}" if silent else None
