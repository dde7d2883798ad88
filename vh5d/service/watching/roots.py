"""A watched directory: how it is watched, and how well that works."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vh5d.policy import Policy
from vh5d.service.watching.canary import NEST, Canary
from vh5d.service.watching.presence import Identity
from vh5d.service.watching.sight import RootHealth, Sight

#: How changes below a directory are noticed.
Method = Literal["auto", "inotify", "polling"]


@dataclass(frozen=True)
class Root:
    """A directory to watch; `nest`: stores are kept in its `.vh5d`, and a canary may be.

    `interval`: seconds between two looks where changes are polled for; None: as the observer does.
    """

    path: Path
    recursive: bool = True
    nest: bool = False
    method: Method = "auto"
    interval: float | None = None


def roots_of(policies: Iterable[Policy]) -> list[Root]:
    """Each directory that is watched once: all of it if any policy wants so, as often as any does.

    Where policies differ in how, whoever wants to poll does.
    """
    roots: dict[Path, Root] = {}
    for policy in policies:
        nest = policy.store.startswith(f"{{root}}/{NEST}/")
        for path, recursive in ((each.path, each.recursive) for each in policy.watched):
            one = Root(path, recursive, nest, policy.observer, policy.poll_interval)
            roots[path] = _together(roots.get(path, one), one)
    return list(roots.values())


def _together(a: Root, b: Root) -> Root:
    methods: tuple[Method, ...] = ("polling", "auto", "inotify")
    return Root(
        a.path,
        a.recursive or b.recursive,
        a.nest or b.nest,
        min(a.method, b.method, key=methods.index),
        min(a.interval or math.inf, b.interval or math.inf),
    )


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
    looked_at
        When its places that are not heard of were last looked at.
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
    looked_at: float = -math.inf

    def present(self) -> Identity | None:
        """Which directory it is; None: it is not there, or what was mounted there is not."""
        return None if self.mount and not self.canary.mount else self.canary.identity

    def unheard(self) -> frozenset[Path]:
        """Directories that events do not tell everything of, as far as they can be looked at."""
        if self.canary.hangs() or self.present() is None:
            return frozenset()
        if self._behind or not self.watched or self.canary.lost():
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

    @property
    def _behind(self) -> bool:
        """Whether other machines write here, and somebody minds."""
        return self.shared is not None and self.root.method != "inotify"

    def _seen(self) -> tuple[Sight, str | None]:
        if self.polled:
            return Sight.POLLING, self.reason
        if self._behind:
            return Sight.POLLING, f"{self.shared}: other machines write unheard"
        if self.unwatched:
            limit = "over the limit of inotify watches"
            return Sight.POLLING, f"{len(self.unwatched)} directories are {limit}"
        silent = self.canary.silent
        return Sight.EVENTS, f"unproven: {silent}" if silent else None
