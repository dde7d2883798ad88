"""A look at the disk: which files are not as they were when last captured.

Events can be lost in a dozen ways (an overflow, a network share, a service that did not run);
this is what makes losing them harmless.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from vh5d.policy import Config
from vh5d.policy.match import WatchedDirectory
from vh5d.service.capturing import followers
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.retries import LONGEST_PAUSE
from vh5d.service.catalog.source import FileStat, Source, State
from vh5d.service.watching.presence import identity, was_deleted

BATCH = 500

#: States that a capture is on its way out of, by a queue, a worker or the retry set.
_ON_ITS_WAY = frozenset({State.QUEUED, State.CAPTURING})


@dataclass
class Findings:
    """What a look found.

    Parameters
    ----------
    changed
        Files that are new or other than when last captured, with their time of modification in
        seconds since the epoch.
    gone
        Known files that are not there any more.
    files, directories
        All that there are; with their inodes.
    closed
        Directories that may not be read.
    """

    changed: list[tuple[Path, float]] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    directories: dict[Path, int] = field(default_factory=dict)
    closed: set[Path] = field(default_factory=set)

    def enter(self, directory: Path) -> None:
        """A directory was read."""
        with contextlib.suppress(OSError):
            self.directories[directory] = directory.stat().st_ino


def walk(
    directory: Path,
    config: Config,
    *,
    recursive: bool,
    entered: Callable[[Path], None],
    refused: Callable[[Path], None] = lambda _directory: None,
) -> Iterator[tuple[Path, FileStat]]:
    """Files below `directory` that are to be kept.

    `entered` hears of every directory read, `refused` of those that may not be.
    """
    waiting = [directory]
    while waiting:
        here = waiting.pop()
        try:
            entries = list(os.scandir(here))
        except PermissionError:
            refused(here)  # its files count as unseen, not as deleted
            continue
        except OSError:
            continue  # gone, or it does not answer: the same
        entered(here)
        for entry in entries:
            path = Path(entry.path)
            try:
                if entry.is_dir(follow_symlinks=False):
                    if recursive and not _skipped(path, config):
                        waiting.append(path)
                elif config.policy_for(path) is not None:
                    found = path.stat()
                    if stat.S_ISREG(found.st_mode):
                        yield path, FileStat.of(found)
            except OSError:
                continue  # it went away between the listing and here


def look(
    catalog: Catalog,
    config: Config,
    below: Collection[Path] | None = None,
    *,
    without: Collection[Path] = (),
    watched: Collection[WatchedDirectory] | None = None,
) -> Findings:
    """Compare the disk with the catalog.

    Parameters
    ----------
    catalog
        What was captured; may raise `redis.RedisError`.
    config
        What to look at.
    below
        Only these directories.
    without
        Roots to leave out: they do not answer.
    watched
        What `all_watched` said, when it is known: to ask is to look at every root.
    """
    findings = Findings()
    if watched is None:
        watched = all_watched(config)
    for directory, recursive in _places(watched, below).items():
        if any(directory.is_relative_to(root) for root in without):
            continue
        seen = walk(
            directory,
            config,
            recursive=recursive,
            entered=findings.enter,
            refused=findings.closed.add,
        )
        while batch := dict(islice(seen, BATCH)):
            findings.files.update(map(str, batch))
            findings.changed += _other_than_captured(catalog, batch)
    findings.gone = _gone(catalog, config, findings.files, below, without)
    return findings


def _skipped(directory: Path, config: Config) -> bool:
    return all(policy.skips(directory) for policy in config.policies)


def all_watched(config: Config) -> list[WatchedDirectory]:
    """Every watched directory of every policy."""
    return [each for policy in config.policies for each in policy.watched]


def _places(
    all_directories: Collection[WatchedDirectory], below: Collection[Path] | None
) -> dict[Path, bool]:
    """Where to begin, and whether to descend."""
    places: dict[Path, bool] = {}
    for watched in all_directories:
        if below is None or any(watched.path.is_relative_to(each) for each in below):
            found = {watched.path: watched.recursive}
        elif watched.recursive:
            found = {each: True for each in below if each.is_relative_to(watched.path)}
        else:
            continue
        for place, recursive in found.items():
            places[place] = places.get(place, False) or recursive
    return {place: wide for place, wide in places.items() if not _inside(place, places)}


def _inside(place: Path, places: dict[Path, bool]) -> bool:
    return any(places.get(parent, False) for parent in place.parents)


def _other_than_captured(
    catalog: Catalog, batch: dict[Path, FileStat]
) -> Iterator[tuple[Path, float]]:
    known = {source.path: source for source in catalog.sources(batch)}
    for path, found in batch.items():
        source = known.get(str(path))
        if source is not None and _in_hand(source, found, catalog.now()):
            continue
        yield path, found.mtime_ns / 1e9


def _in_hand(source: Source, found: FileStat, now: float) -> bool:
    """Whether this state of the file was dealt with, or will be without our doing."""
    if source.state in _ON_ITS_WAY:
        return True
    if source.next_try is not None and source.error is not None:
        # Unless the clock was set back since.
        return source.next_try - now <= 2 * LONGEST_PAUSE
    # A host that was cut off may say that a file is settling when another has captured it since.
    if source.stat != found or source.state in {State.MISSING, State.SETTLING}:
        return False
    return not followers.changed(Path(source.path), source.follows)


def _gone(
    catalog: Catalog,
    config: Config,
    present: set[str],
    below: Collection[Path] | None,
    without: Collection[Path],
) -> list[Path]:
    """Known files that are not there, on a file system that is."""
    gone = []
    unseen = (path for path in catalog.paths() if path not in present)
    if below is not None:
        inside = tuple(f"{directory}/" for directory in below)
        unseen = (path for path in unseen if path.startswith(inside))
    for source in catalog.sources(unseen):
        path = Path(source.path)
        if source.state is State.MISSING or any(path.is_relative_to(each) for each in without):
            continue
        policy = config.policy_for(path)
        root = policy.root_of(path) if policy is not None else None
        if root is None:
            continue
        if was_deleted(path, root, source, watched=identity(root)):
            gone.append(path)
    return gone
