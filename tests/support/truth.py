"""What files really were, remembered apart from vh5d, to hold its stores against."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from vh5d.capture.restore import restore
from vh5d.errors import StoreBusyError
from vh5d.store.reader import open_store
from vh5d.store.verify import verify
from vh5d.store.versions import VersionInfo


@dataclass(frozen=True)
class Written:
    """One state of one file, complete and closed."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Written:
        content = path.read_bytes()
        stat = path.stat()
        return cls(path, stat.st_size, stat.st_mtime_ns, hashlib.sha256(content).hexdigest())

    def is_in(self, versions: list[VersionInfo]) -> VersionInfo | None:
        """The version of this state."""
        for version in reversed(versions):
            if (version.source_size, version.source_mtime_ns) == (self.size, self.mtime_ns):
                return version
        return None


@dataclass
class Truth:
    """Every state that files below a directory ever had, as their writer saw it.

    Parameters
    ----------
    data
        The directory; stores are below `.vh5d` in it.
    """

    data: Path
    states: dict[Path, dict[tuple[int, int], set[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    settled: list[Written] = field(default_factory=list)
    acknowledged: dict[Path, set[str]] = field(default_factory=lambda: defaultdict(set))

    def store_of(self, path: Path) -> Path:
        return self.data / ".vh5d" / path.relative_to(self.data)

    def note(self, path: Path) -> Written:
        """The file was written and closed."""
        written = Written.of(path)
        self.states[path][written.size, written.mtime_ns].add(written.sha256)
        return written

    def versions(self, path: Path) -> list[VersionInfo]:
        """Versions there are; none while a commit is being applied."""
        store = self.store_of(path)
        if not store.exists():
            return []
        try:
            with open_store(store) as reader:
                return reader.versions
        except StoreBusyError:
            return []

    def losses(self, work: Path) -> list[str]:
        """Everything that is not as it must be; empty when nothing was lost.

        Each settled and each acknowledged version is there, each version restores to a state
        that the file really had, each store verifies.
        """
        problems = []
        for path in sorted(self.states):
            store = self.store_of(path)
            if not store.exists():
                problems.append(f"{path}: no store")
                continue
            problems += [f"{store}: {each.message}" for each in verify(store).problems]
            problems += self._losses_of(path, work / "restored")
        return problems

    def _losses_of(self, path: Path, target: Path) -> list[str]:
        problems = []
        versions = self.versions(path)
        names = [version.name for version in versions]
        if names != [f"v{number}" for number in range(1, len(names) + 1)]:
            problems.append(f"{path}: versions {names}")
        problems += [
            f"{path}: {missing} was acknowledged and is not there"
            for missing in self.acknowledged[path] - set(names)
        ]
        problems += [
            f"{path}: no version of {state}"
            for state in self.settled
            if state.path == path and state.is_in(versions) is None
        ]
        for version in versions:
            restore(self.store_of(path), version.name, target, overwrite=True)
            sha256 = hashlib.sha256(target.read_bytes()).hexdigest()
            known = self.states[path].get((version.source_size, version.source_mtime_ns))
            if known is None or sha256 not in known:
                problems.append(f"{path}: {version.name} is no state that the file ever had")
        return problems
