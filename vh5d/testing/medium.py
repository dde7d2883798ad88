"""What a disk holds for sure, what it may hold besides, and what a power cut can make of it.

The model, which is meant to be as bad as disks and file systems are allowed to be:

- What is written to a file may be lost, wholly or by sectors of 512 or 4,096 bytes, and may arrive
  in any order, until a sync of the file returns. Its size is one more thing written. A sector is
  written as a whole or not at all.
- What happens to names (a file made, linked, renamed, removed) may be lost, each by itself, until a
  sync of the directory returns. A sync of the file does not save its name. A rename that is lost in
  part leaves both names; never neither.
- A sync that failed may have thrown away what was unsynced, and the next one may succeed all the
  same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SECTORS = (512, 4096)
"""Bytes that a disk writes as a whole: of older disks, and of newer ones and the page cache."""


@dataclass(frozen=True)
class Written:
    """Bytes written to a file at an offset."""

    file: int
    offset: int
    data: bytes

    def sectors(self, size: int) -> Iterator[Written]:
        """The parts of it that may be lost each by itself."""
        at, end = self.offset, self.offset + len(self.data)
        while at < end:
            stop = min(end, (at // size + 1) * size)
            yield Written(self.file, at, self.data[at - self.offset : stop - self.offset])
            at = stop


@dataclass(frozen=True)
class Resized:
    """A file cut off, or grown by zeros, in bytes."""

    file: int
    size: int


@dataclass(frozen=True)
class Named:
    """A name given to a file, whatever had it; `was` is the name it had, if it was renamed."""

    name: str
    file: int
    was: str | None = None


@dataclass(frozen=True)
class Unnamed:
    """A name removed."""

    name: str


@dataclass(frozen=True)
class Synced:
    """A file synced: what happened to it before is durable. The directory, without a file."""

    file: int | None


@dataclass(frozen=True)
class Forgotten:
    """A sync of a file failed: what was unsynced will never be durable."""

    file: int


Unsynced = Written | Resized | Named | Unnamed
Event = Unsynced | Synced | Forgotten
Kept = Literal["none", "all", "names", "contents", "latest", "but the latest", "any"]
"""Which unsynced changes survive a power cut; "any": by chance, each and its sectors apart."""


@dataclass
class Medium:
    """The files of one directory: what is durable of them, and what was done since.

    Attributes
    ----------
    contents
        What is durable of each file, by a number that stands for the file.
    names
        Which names of files are durable.
    unsynced
        What was done since, in order.
    """

    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    unsynced: list[Unsynced] = field(default_factory=list)

    @classmethod
    def of(cls, directory: Path) -> Medium:
        """The files that lie in a directory, taken to be durable."""
        medium, numbers = cls(), dict[int, int]()
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    number = numbers.setdefault(entry.inode(), len(numbers))
                    medium.names[entry.name] = number
                    medium.contents[number] = Path(entry).read_bytes()
        return medium

    def copy(self) -> Medium:
        """The same, to be changed apart."""
        return Medium(dict(self.contents), dict(self.names), list(self.unsynced))

    def take(self, event: Event) -> None:
        """Let something happen."""
        if isinstance(event, Synced):
            done = [each for each in self.unsynced if _subject(each) == event.file]
            _carry_out(done, self.contents, self.names)
            self._settle(event.file)
        elif isinstance(event, Forgotten):
            self._settle(event.file)
        else:
            self.unsynced.append(event)

    def _settle(self, file: int | None) -> None:
        self.unsynced = [each for each in self.unsynced if _subject(each) != file]

    def visible(self) -> Medium:
        """What programs see of it as long as the power is on."""
        return self.lose_power("all", random.Random(0))  # noqa: S311 - nothing is left to chance

    def lose_power(self, kept: Kept, chance: random.Random) -> Medium:
        """What the disk may hold after a power cut, all of it durable.

        Parameters
        ----------
        kept
            Which of the unsynced changes survive.
        chance
            Decides, where `kept` leaves something to decide.
        """
        contents, names = dict(self.contents), dict(self.names)
        _carry_out(_survivors(self.unsynced, kept, chance), contents, names)
        named = {name: number for name, number in names.items() if number in contents}
        return Medium({number: contents[number] for number in named.values()}, named)


def _subject(change: Unsynced) -> int | None:
    """The file that must be synced for it to be durable; None for the directory."""
    return change.file if isinstance(change, Written | Resized) else None


def _survivors(unsynced: list[Unsynced], kept: Kept, chance: random.Random) -> list[Unsynced]:
    if kept == "any":
        return _by_chance(unsynced, chance)
    if kept in {"names", "contents"}:
        return [each for each in unsynced if (_subject(each) is None) == (kept == "names")]
    return {
        "none": [],
        "all": unsynced,
        "latest": unsynced[-1:],
        "but the latest": unsynced[:-1],
    }[kept]


def _by_chance(unsynced: list[Unsynced], chance: random.Random) -> list[Unsynced]:
    sector, likely = chance.choice(SECTORS), chance.choice((0.1, 0.5, 0.9))
    survivors: list[Unsynced] = []
    for change in unsynced:
        parts = change.sectors(sector) if isinstance(change, Written) else (change,)
        for part in parts:
            if chance.random() >= likely:
                continue
            if isinstance(part, Named) and part.was is not None and chance.random() < 0.1:
                part = Named(part.name, part.file)  # noqa: PLW2901 - half of a rename
            survivors.append(part)
    if chance.random() < 0.5:
        # Names keep their order: two changes of one name are one change of the last one's kind.
        contents = [each for each in survivors if _subject(each) is not None]
        chance.shuffle(contents)
        survivors = contents + [each for each in survivors if _subject(each) is None]
    return survivors


def _carry_out(changes: list[Unsynced], contents: dict[int, bytes], names: dict[str, int]) -> None:
    changed: dict[int, bytearray] = {}
    for change in changes:
        match change:
            case Written(file, offset, data):
                content = changed.get(file)
                if content is None:
                    content = changed[file] = bytearray(contents[file])
                if len(content) < offset:
                    content.extend(bytes(offset - len(content)))
                content[offset : offset + len(data)] = data
            case Resized(file, size):
                content = changed.get(file)
                if content is None:
                    content = changed[file] = bytearray(contents[file])
                content[size:] = bytes(max(0, size - len(content)))
            case Named(name, file, was):
                if was is not None and names.get(was) == file:
                    del names[was]
                names[name] = file
            case Unnamed(name):
                names.pop(name, None)
    contents.update((file, bytes(content)) for file, content in changed.items())
