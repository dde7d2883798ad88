"""Files that others lead to: they are kept with these, and a change of one is one of these."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import blake3
import structlog

from vh5d.errors import SourceMissingError, SourceTooLargeError, SourceUnreadableError
from vh5d.policy import Policy
from vh5d.store.companions import Companion

if TYPE_CHECKING:
    from vh5d.capture.options import CaptureOptions
    from vh5d.service.catalog.catalog import Catalog

#: Why a file was captured: another leads to it.
FOLLOWED = "followed"

log = structlog.stdlib.get_logger(__name__)

FileState = tuple[str, int, int]
"""Path as seen from the directory of whoever leads there, size, time of modification."""


@dataclass
class Follower:
    """Keeps the files that a source leads to, each in its own store.

    Only those inside the directories that the policy of the source watches: what a file says of
    other files is not to be believed.

    Parameters
    ----------
    source, policy
        The source.
    policies
        All that there are: a file that one of these means is kept as it says, others as the
        source's policy says.
    options
        Those of the source's capture; a file that is followed is not followed further.

    Attributes
    ----------
    states
        What was followed, as it was just before it was kept.
    """

    source: Path
    policy: Policy
    policies: Collection[Policy]
    options: CaptureOptions
    states: list[FileState] = field(default_factory=list)

    def __call__(self, path: Path) -> Companion | str:
        """Keep a file; what was kept, or why nothing is."""
        real = Path(os.path.realpath(path))
        inside = self.policy.root_of(path) is not None and self.policy.leads_inside(path, real)
        if not inside:
            return "it is outside of what is watched"
        if any(each.is_store(path) for each in (self.policy, *self.policies)):
            return "it is a store"
        name = os.path.relpath(path, self.source.parent)
        try:
            found = path.stat()
            kept = self._keep(path, real, name)
        except (FileNotFoundError, SourceMissingError):
            self.states.append((name, -1, -1))
            return Companion(name)
        except (SourceTooLargeError, SourceUnreadableError) as error:
            return str(error)
        self.states.append((name, found.st_size, found.st_mtime_ns))
        return kept

    def _keep(self, path: Path, real: Path, name: str) -> Companion:
        from vh5d.capture.capture import capture
        from vh5d.service.capturing.asked import capture_options
        from vh5d.store.images import read_image
        from vh5d.store.reader import open_store

        own = next((each for each in self.policies if each.matches(path)), self.policy)
        store = own.store_for(path)
        options = capture_options(
            own, path, busy=self.options.busy, timeout=self.options.timeout, real=real
        )
        result = capture(path, store, options=options, cause=FOLLOWED)
        if result.changed:
            log.info("version", path=str(path), version=result.version, followed_from=name)
        with open_store(store) as reader:
            last = reader.versions[-1]
            digest = last.digest
            image = read_image(reader.file, last.name)
        if image is not None and last.kept_as == "content":
            # Its digest is that of its chunks alone.
            digest = blake3.blake3(image.fingerprints.tobytes()).hexdigest()
        seen = os.path.relpath(store, self.source.parent)
        return Companion(name, seen, last.name, digest)


def remember(catalog: Catalog, source: Path, states: list[FileState]) -> None:
    """Have `source` captured again when one of these files gets a new version."""
    pipeline = catalog.client.pipeline(transaction=False)
    for name, _, _ in states:
        path = os.path.normpath(source.parent / name)
        pipeline.sadd(_key(catalog, path), catalog.shared(source))
    pipeline.execute()


def call(catalog: Catalog, path: Path) -> None:
    """Have the files captured that lead to one which has a new version."""
    leading: Any = catalog.client.smembers(_key(catalog, path))
    catalog.retries.soon(map(str, leading))


def changed(source: Path, states: list[FileState] | None) -> bool:
    """Whether one of the files that a source leads to is other than when it was kept."""
    return any(_state(source.parent / name) != (size, at) for name, size, at in states or ())


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _key(catalog: Catalog, path: Path | str) -> str:
    return f"vh5d:followers:{catalog.shared(path)}"
