"""Who captures: each is a command line, a place where it keeps things, and a way back."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

SOURCE = Path("source/stack.h5")
"""What is captured, seen from the directory where all commands run."""

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Moment:
    """What a contestant may know of the capture it is to make.

    Attributes
    ----------
    number
        1, 2, 3…
    frames
        Those that were rewritten since the capture before.
    """

    number: int
    frames: tuple[int, ...] = ()


class Contestant:
    """One way to keep states of a file.

    Parameters
    ----------
    room
        An empty directory of its own.
    """

    name: ClassVar[str]
    durable: ClassVar[str]  # what makes it so; seen with strace

    def __init__(self, room: Path) -> None:
        self.room = room
        self.store = room / "store"

    @classmethod
    def version(cls) -> str | None:
        """Return the version that is installed, None if none is."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return the environment variables that its commands need."""
        return {}

    def prepare(self) -> list[str] | None:
        """Return the command that makes its store, which is not timed."""
        return None

    def capture(self, moment: Moment) -> list[str]:
        """Return the command that is timed."""
        raise NotImplementedError

    def restore(self, moment: Moment, out: Path) -> list[str] | None:
        """Return the command that makes the captured file again, as `out` / `SOURCE`."""
        raise NotImplementedError

    def store_nbytes(self) -> int:
        """Return the bytes that its store takes on the disk."""
        files = [self.store] if self.store.is_file() else self.store.rglob("*")
        return sum(each.lstat().st_blocks * 512 for each in files)


class Vh5d(Contestant):
    """`vh5d snapshot`, of the environment that runs the benchmark."""

    name = "vh5d"
    durable = "fsync; later commits journalled"
    command = str(Path(sysconfig.get_path("scripts")) / "vh5d")

    @classmethod
    def version(cls) -> str | None:
        """Return the version that is installed, None if none is."""
        return _first_line([cls.command, "--version"], word=1)

    def prepare(self) -> list[str] | None:
        """Return the command that compiles it, as installing a wheel would have."""
        package = importlib.util.find_spec("vh5d")
        if package is None or package.origin is None:
            return None
        return [sys.executable, "-m", "compileall", "-q", str(Path(package.origin).parent)]

    def capture(self, moment: Moment) -> list[str]:
        """Return the command that is timed."""
        del moment
        return [self.command, "snapshot", str(SOURCE), "--store", str(self.store)]

    def restore(self, moment: Moment, out: Path) -> list[str]:
        """Return the command that makes the captured file again."""
        target = str(out / SOURCE)
        return [self.command, "restore", str(self.store), f"v{moment.number}", "-o", target]


class Borg(Contestant):
    """`borg create`, of the directory that the file is in."""

    name = "borg"
    durable = "fsync"

    @classmethod
    def version(cls) -> str | None:
        """Return the version that is installed, None if none is."""
        return _first_line(["borg", "--version"], word=1)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that its commands need."""
        return {
            "BORG_BASE_DIR": str(self.room / "cache"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }

    def prepare(self) -> list[str]:
        """Return the command that makes its store."""
        return ["borg", "init", "--encryption", "none", str(self.store)]

    def capture(self, moment: Moment) -> list[str]:
        """Return the command that is timed."""
        return ["borg", "create", self._archive(moment), str(SOURCE.parent)]

    def restore(self, moment: Moment, out: Path) -> list[str]:
        """Return the command that makes the captured file again."""
        extract = 'cd "$0" && exec borg extract "$@"'
        return ["sh", "-c", extract, str(out), self._archive(moment), str(SOURCE)]

    def _archive(self, moment: Moment) -> str:
        return f"{self.store}::{moment.number}"


class Restic(Contestant):
    """`restic backup`, of the directory that the file is in; it always encrypts."""

    name = "restic"
    durable = "fsync"

    @classmethod
    def version(cls) -> str | None:
        """Return the version that is installed, None if none is."""
        return _first_line(["restic", "version"], word=1)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that its commands need."""
        return {
            "RESTIC_REPOSITORY": str(self.store),
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(self.room / "cache"),
        }

    def prepare(self) -> list[str]:
        """Return the command that makes its store."""
        return ["restic", "init"]

    def capture(self, moment: Moment) -> list[str]:
        """Return the command that is timed."""
        return ["restic", "backup", "--tag", f"capture-{moment.number}", str(SOURCE.parent)]

    def restore(self, moment: Moment, out: Path) -> list[str]:
        """Return the command that makes the captured file again."""
        tag = f"capture-{moment.number}"
        return ["restic", "restore", "latest", "--tag", tag, "--target", str(out)]


class Copy(Contestant):
    """`cp` to a new name each time, and `sync` of the copy and its directory."""

    name = "cp + sync"
    durable = "fsync, by `sync FILE DIRECTORY`"

    @classmethod
    def version(cls) -> str | None:
        """Return the version that is installed, None if none is."""
        return _first_line(["cp", "--version"], word=-1)

    def prepare(self) -> list[str]:
        """Return the command that makes its store."""
        return ["mkdir", str(self.store)]

    def capture(self, moment: Moment) -> list[str]:
        """Return the command that is timed."""
        copy = 'cp "$0" "$1/$2" && sync "$1/$2" "$1"'
        return ["sh", "-c", copy, str(SOURCE), str(self.store), str(moment.number)]

    def restore(self, moment: Moment, out: Path) -> list[str]:
        """Return the command that makes the captured file again."""
        return ["cp", str(self.store / str(moment.number)), str(out / SOURCE)]


class VersionedWhole(Contestant):
    """versioned-hdf5, given the whole array: the same task as the others'."""

    name = "versioned-hdf5, all"
    durable = "not by itself; fsync by the script"

    @classmethod
    def version(cls) -> str | None:
        """Return the version that is installed, None if none is."""
        if importlib.util.find_spec("versioned_hdf5") is None:
            return None
        return importlib.metadata.version("versioned-hdf5")

    def capture(self, moment: Moment) -> list[str]:
        """Return the command that is timed."""
        script = str(HERE / "stage_versioned.py")
        return [sys.executable, script, str(SOURCE), str(self.store), f"v{moment.number}"]

    def restore(self, moment: Moment, out: Path) -> None:
        """Return nothing: it gives arrays back, not files."""
        del moment, out


class VersionedFrames(VersionedWhole):
    """versioned-hdf5, told which frames changed: less to do than the others have."""

    name = "versioned-hdf5, frames"

    def capture(self, moment: Moment) -> list[str]:
        """Return the command that is timed."""
        return [*super().capture(moment), "--frames", ",".join(map(str, moment.frames))]


CONTESTANTS: tuple[type[Contestant], ...] = (
    Vh5d,
    Borg,
    Restic,
    Copy,
    VersionedWhole,
    VersionedFrames,
)


def _first_line(command: Sequence[str], *, word: int) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
    )
    return said.stdout.splitlines()[0].split()[word]
