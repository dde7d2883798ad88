"""The states in which a power cut may leave a disk, made from what was recorded of one run."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from vh5d.testing.medium import Event, Kept, Medium

KILLED = -1
"""The choice by which only the program died: what it did is there, as durable as it was."""

#: The first choices are those that find the most; all later ones are by chance.
CHOICES: tuple[Kept, ...] = ("none", "all", "names", "contents", "latest", "but the latest")


@dataclass
class Call:
    """One call of a disk.

    Attributes
    ----------
    kind
        The method of `vh5d.hdf5.disk.Disk`.
    name
        The file it was for, as it was called then.
    events
        What it changed, made durable or lost.
    """

    kind: str
    name: str
    events: list[Event]


@dataclass(frozen=True)
class CrashState:
    """What a disk holds after a power cut, or after a program was killed.

    Attributes
    ----------
    seed, operation, choice
        What makes this state again, from the same run: `crash_state` takes them.
    during
        The call before which the power went, or "the end".
    medium
        The files; with what is not durable yet, if the program was killed. A `SimulatedDisk` may
        start from it, to try what happens in the recovery.
    """

    seed: int
    operation: int
    choice: int
    during: str
    medium: Medium

    def write_to(self, directory: Path) -> None:
        """Lay the files out in an empty directory; names of one file are hard links."""
        first: dict[int, Path] = {}
        visible = self.medium.visible()
        for name, number in visible.names.items():
            path = directory / name
            if number in first:
                os.link(first[number], path)
            else:
                path.write_bytes(visible.contents[number])
                first[number] = path

    def digest(self) -> bytes:
        """The same for the same durable files under the same names."""
        hasher, names = blake3(), self.medium.names
        for name in sorted(names):
            content = self.medium.contents[names[name]]
            hasher.update(f"{name}/{len(content)}/".encode()).update(content)
        return hasher.digest()

    def __str__(self) -> str:
        return f"seed {self.seed}, operation {self.operation} ({self.during}), choice {self.choice}"


def crash_states(
    start: Medium,
    calls: Sequence[Call],
    *,
    seed: int,
    choices: Sequence[int] = range(10),
    first: int = 0,
    stop: int | None = None,
) -> Iterator[CrashState]:
    """States after a power cut before each call, and after the last, where something changed.

    A cut in the middle of a call is among those before the next one: nothing that is not synced
    needs to survive.

    Parameters
    ----------
    start, calls
        What lay on the disk, and what was done to it: `SimulatedDisk.start` and `calls`.
    seed
        Decides all that is left to chance.
    choices
        Which of the states each operation may leave: 0 nothing unsynced survives, 1 everything, 2
        names only, 3 contents only, 4 the latest change only, 5 all but that; from 6 on any, by
        chance: each change kept or lost, in sectors of 512 or 4,096 bytes, in order or not.
        `KILLED`: the power stays on.
    first, stop
        The operations to do it at, `first` and the last before `stop` in any case; to the end if
        `stop` is None.
    """
    medium, fresh = start.copy(), True
    end = len(calls) + 1 if stop is None else min(stop, len(calls) + 1)
    for operation in range(end):
        if operation >= first and (fresh or operation == end - 1):
            during = _describe(calls, operation)
            for choice in choices:
                lost = _lose(medium, seed, operation, choice)
                yield CrashState(seed, operation, choice, during, lost)
            fresh = False
        if operation < len(calls):
            for event in calls[operation].events:
                medium.take(event)
                fresh = True


def crash_state(
    start: Medium, calls: Sequence[Call], *, seed: int, operation: int, choice: int
) -> CrashState:
    """One of these states, made again."""
    medium = start.copy()
    for call in calls[:operation]:
        for event in call.events:
            medium.take(event)
    lost = _lose(medium, seed, operation, choice)
    return CrashState(seed, operation, choice, _describe(calls, operation), lost)


def _lose(medium: Medium, seed: int, operation: int, choice: int) -> Medium:
    if choice == KILLED:
        return medium.copy()
    # A string seeds the same way in every process and version; a tuple would not.
    chance = random.Random(f"{seed}/{operation}/{choice}")  # noqa: S311 - to be made again
    kept = CHOICES[choice] if choice < len(CHOICES) else "any"
    return medium.lose_power(kept, chance)


def _describe(calls: Sequence[Call], operation: int) -> str:
    if operation >= len(calls):
        return "the end"
    call = calls[operation]
    return f"{call.kind} {call.name}"
