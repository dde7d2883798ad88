"""Which files a policy means, by their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vh5d.policy.globs import PathPattern, compile_glob, literal
from vh5d.policy.patience import ask

STORE_DIRECTORY = ".vh5d"
_OURS = ("-journal", ".lock")


@dataclass(frozen=True)
class WatchedDirectory:
    """A directory to be told about, and whether everything below it too."""

    path: Path
    recursive: bool


@dataclass(frozen=True)
class Located:
    """A path below a watched root. `named`: ``watch`` names this very file."""

    root: Path
    relative: PurePosixPath
    named: bool = False


@dataclass(frozen=True)
class WatchEntry:
    """One entry of ``watch``: a directory or a file (no `pattern`), or a glob.

    `path` is the directory or the file; of a glob, the directory above its first wildcard.
    """

    path: str
    pattern: re.Pattern[str] | None = None
    last: str = ""
    depth: int = 0

    @classmethod
    def parse(cls, text: str) -> WatchEntry:
        """Read an absolute path or glob; ValueError as of `compile_glob`."""
        parts = text.split("/")
        names = [literal(part) for part in parts]
        first = names.index(None) if None in names else len(names)
        above = "/" + "/".join(filter(None, names[:first]))
        if first == len(names):
            return cls(above, last=parts[-1])
        return cls(above, compile_glob(text), last=parts[-1], depth=len(parts) - first)

    def locate(self, path: str) -> Located | None:
        """Find `path`, absolute and normal, below this entry, by its name alone."""
        if self.pattern is None and path == self.path and not Path(path).is_dir():
            return Located(Path(path).parent, PurePosixPath(Path(path).name), named=True)
        inside = self.path.rstrip("/") + "/"
        if not path.startswith(inside):
            return None
        relative = PurePosixPath(path[len(inside) :])
        # A glob means a file when it matches it, or a directory that it is in.
        above = PurePosixPath(path).parents[: len(relative.parts) - 1]
        if self.pattern is not None and not any(
            self.pattern.fullmatch(str(each)) for each in (path, *above)
        ):
            return None
        return Located(Path(self.path), relative)

    def means_directly(self, path: Path) -> bool:
        """Whether `path` is what this entry names, or is in a directory that it names."""
        if self.pattern is None:
            return str(path.parent) == self.path
        return any(self.pattern.fullmatch(str(each)) for each in (path, path.parent))

    def watched(self, include: Sequence[str], *, recursive: bool = True) -> WatchedDirectory:
        """Return the directory to be told about: the root of what this entry finds."""
        path = Path(self.path)
        suffixes = tuple(pattern[1:].lower() for pattern in include if pattern.startswith("*."))
        names_files = self.last.lower().endswith(suffixes)
        if self.pattern is not None:
            return WatchedDirectory(path, recursive=not (names_files and self.depth == 1))
        if ask(path.is_file, otherwise=False) or (
            names_files and not ask(path.is_dir, otherwise=False)
        ):
            return WatchedDirectory(path.parent, recursive=False)
        return WatchedDirectory(path, recursive=recursive)


@dataclass(frozen=True)
class Matcher:
    """The ``watch``, ``include``, ``exclude`` and ``symlinks`` of a policy, compiled."""

    entries: tuple[WatchEntry, ...]
    include: tuple[PathPattern, ...]
    exclude: tuple[PathPattern, ...]
    links: bool = True
    recursive: bool = True

    @classmethod
    def build(
        cls,
        watch: Sequence[str],
        include: Sequence[str],
        exclude: Sequence[str],
        *,
        links: bool = True,
        recursive: bool = True,
    ) -> Matcher:
        """Compile; ValueError as of `compile_glob`.

        Parameters
        ----------
        links
            Symbolic links may be meant.
        recursive
            Directories are meant with all below them, not only with the files in them.
        """
        return cls(
            tuple(WatchEntry.parse(text) for text in watch),
            # A file called RUN.H5 is meant by *.h5; to leave out must be said exactly.
            tuple(PathPattern.parse(text, ignore_case=True) for text in include),
            tuple(PathPattern.parse(text) for text in exclude),
            links,
            recursive,
        )

    @property
    def names_one_file(self) -> bool:
        """Whether ``watch`` is one file, which is there."""
        only = self.entries[0] if len(self.entries) == 1 else None
        return only is not None and ask(Path(only.path).is_file, otherwise=False)

    def locate(self, path: Path) -> Located | None:
        """Find the watched root of `path`, whether the file is meant or not.

        A path that leads out of its root through a symbolic link has none. One
        given by its real name, below a root that is a link, has.
        """
        absolute = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
        real = os.path.realpath(absolute)
        for entry in self.entries:
            found = entry.locate(absolute)
            if found is not None and _within(real, found.root):
                return found
        for entry in self.entries:
            if entry.pattern is None:
                real_entry = WatchEntry(os.path.realpath(entry.path))
                found = real_entry.locate(real)
                if found is not None:
                    root = Path(entry.path)
                    return Located(
                        root.parent if found.named else root, found.relative, found.named
                    )
        return None

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` is to be kept, going by its name."""
        found = self.locate(path)
        if found is None or self.never(found) is not None:
            return False
        if any(pattern.matches_within(found.root, found.relative) for pattern in self.exclude):
            return False
        if not self.links and not found.named and _is_link(path, found):
            return False
        if self.is_too_deep(found):
            return False
        return found.named or any(p.matches(found.root, found.relative) for p in self.include)

    def is_too_deep(self, found: Located) -> bool:
        """Whether it is in a directory below those that are meant, and they are not."""
        if self.recursive or found.named:
            return False
        path = found.root / found.relative
        return not any(entry.means_directly(path) for entry in self.entries)

    def skips(self, directory: Path) -> bool:
        """Whether nothing below `directory`, itself below a root, can be meant."""
        found = self.locate(directory)
        if found is None:
            return False
        if any(part.startswith(".") for part in found.relative.parts) and not found.named:
            return True
        return any(pattern.matches_within(found.root, found.relative) for pattern in self.exclude)

    def never(self, found: Located) -> str | None:
        """Why it is never meant: ours, or hidden, as what programs write before they rename."""
        if STORE_DIRECTORY in (found.root / found.relative).parts:
            return f"stores are in {STORE_DIRECTORY}"
        if found.named:
            return None
        if any(part.startswith(".") for part in found.relative.parts):
            return "hidden files, and those in hidden directories, are left alone"
        if found.relative.name.endswith(_OURS):
            return f"files that end in {' or '.join(_OURS)} are left alone"
        return None


def _within(real: str, root: Path) -> bool:
    return real.startswith(os.path.realpath(root).rstrip("/") + "/")


def _is_link(path: Path, found: Located) -> bool:
    """Whether a symbolic link below the root leads to it, or it is one."""
    return Path(os.path.realpath(path)) != Path(os.path.realpath(found.root)) / found.relative
