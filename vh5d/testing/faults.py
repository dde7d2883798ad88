"""A simulated disk: the real code runs over it, and it fails, or loses power, where you say.

Run what you want to try once, over real files in a directory of its own (on a tmpfs it is quick):

    disk = SimulatedDisk(directory)
    capture(source, directory / "store.h5", disk=disk)

Then look at every state in which a power cut might have left that directory:

    for state in disk.crash_states(seed=1):
        state.write_to(empty_directory)
        ...  # open the store there: the old state, or the new one

And run it again with an error at each call in turn, which must be told of and do no harm:

    for fault in every_fault(disk.calls):
        disk = SimulatedDisk(another_directory, faults=[fault])
        ...

A state that fails is made again from its seed, operation and choice by `crash_state`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vh5d.hdf5.disk import Disk
from vh5d.testing.crashes import KILLED, Call, CrashState, crash_state, crash_states
from vh5d.testing.medium import (
    Event,
    Forgotten,
    Medium,
    Named,
    Resized,
    Synced,
    Unnamed,
    Written,
)

__all__ = [
    "KILLED",
    "Call",
    "CrashState",
    "Effect",
    "Fault",
    "Medium",
    "SimulatedDisk",
    "crash_state",
    "crash_states",
    "every_fault",
]

Effect = Literal["EIO", "ENOSPC", "short", "full", "sync lost", "sync gone"]
"""What goes wrong.

``EIO``, ``ENOSPC``: the call fails, and has done nothing. ``short``: a read or write does half of
what it was asked. ``full``: a write does half, and all that takes space fails from then on.
``sync lost``: a sync fails, the next one succeeds, and what was unsynced never gets to the disk,
though it is still read from the cache. ``sync gone``: nor is it read any more.
"""

_SYNCS = {"fsync", "fdatasync"}
_SPACE = {"create", "pwrite", "ftruncate", "punch", "link", "rename", *_SYNCS, "sync_directory"}
_CONCERNED: dict[Effect, set[str]] = {
    "EIO": {"open", "close", "preadv", "unlink", *_SPACE},
    "ENOSPC": _SPACE,
    "short": {"preadv", "pwrite"},
    "full": {"pwrite"},
    "sync lost": _SYNCS,
    "sync gone": _SYNCS,
}


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at one call, or from it on.

    Attributes
    ----------
    at
        The number of the call, from 0.
    effect
        What goes wrong.
    sticky
        Whether it does so at all later calls, too.
    """

    at: int
    effect: Effect
    sticky: bool = False

    def concerns(self, kind: str) -> bool:
        """Whether it can happen to a call of that kind."""
        return kind in _CONCERNED[self.effect]

    def effect_on(self, number: int, kind: str) -> Effect | None:
        """What it does to a call."""
        if number == self.at:
            return self.effect if self.concerns(kind) else None
        if number < self.at:
            return None
        if self.effect == "full":
            return "ENOSPC" if kind in _SPACE else None
        return self.effect if self.sticky and self.concerns(kind) else None

    def __str__(self) -> str:
        return f"{self.effect} at call {self.at}{' and all later ones' if self.sticky else ''}"


def every_fault(calls: Sequence[Call]) -> Iterator[Fault]:
    """Each fault that can happen in a run: every call, every effect, once and from then on."""
    for at, call in enumerate(calls):
        for effect in _CONCERNED:
            for sticky in (False, True):
                fault = Fault(at, effect, sticky)
                repeatable = effect in {"EIO", "ENOSPC", "short"}
                if fault.concerns(call.kind) and (repeatable or not sticky):
                    yield fault


class SimulatedDisk(Disk):
    """The real disk, below one directory, that records what it does and can be told to fail.

    Parameters
    ----------
    directory
        Where everything happens.
    faults
        What is to go wrong, and when.
    start
        How durable what lies there is; wholly, if None. Of a `CrashState` that lies there.
    links
        Whether the file system has hard links.

    Attributes
    ----------
    start
        What lay in the directory at first.
    calls
        All calls so far, those that failed included. ``open`` is called ``create`` when it might
        make a file.
    """

    def __init__(
        self,
        directory: Path,
        *,
        faults: Sequence[Fault] = (),
        start: Medium | None = None,
        links: bool = True,
    ) -> None:
        self._links = links
        self.start = start.copy() if start is not None else Medium.of(directory)
        self.calls: list[Call] = []
        self.faults = tuple(faults)
        self._directory = Path(os.path.realpath(directory))
        self._medium = self.start.copy()
        self._names = self.start.visible().names
        self._next_file = max(self.start.contents, default=-1) + 1
        self._open: dict[int, tuple[int, str]] = {}

    def crash_states(
        self,
        *,
        seed: int,
        choices: Sequence[int] = range(10),
        first: int = 0,
        stop: int | None = None,
    ) -> Iterator[CrashState]:
        """The states a power cut might have left, so far; see `vh5d.testing.crashes`."""
        return crash_states(
            self.start, self.calls, seed=seed, choices=choices, first=first, stop=stop
        )

    def _call(self, kind: str, name: str) -> tuple[Call, Effect | None]:
        """Record a call; fail, if it is to fail at once."""
        call, number = Call(kind, name, []), len(self.calls)
        self.calls.append(call)
        effects = (fault.effect_on(number, kind) for fault in self.faults)
        effect = next((each for each in effects if each is not None), None)
        if effect in {"EIO", "ENOSPC"} and kind != "close":
            raise _refusal(effect)
        return call, effect

    def _happen(self, call: Call, *events: Event) -> None:
        for event in events:
            call.events.append(event)
            self._medium.take(event)

    def _file_call(self, kind: str, fd: int) -> tuple[Call, Effect | None, int]:
        if fd not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        file, name = self._open[fd]
        return (*self._call(kind, name), file)

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Open a file, or create it."""
        name = self._name(path)
        call, _ = self._call("create" if flags & os.O_CREAT else "open", name)
        fd = super().open(path, flags, mode)
        if name not in self._names:
            # Made now; or by somebody who does not know of this disk, and then it is durable.
            file, self._next_file = self._next_file, self._next_file + 1
            content = b"" if flags & os.O_CREAT else path.read_bytes()
            self.start.contents[file] = self._medium.contents[file] = content
            self._names[name] = file
            self._happen(call, Named(name, file))
        elif flags & os.O_TRUNC:
            self._happen(call, Resized(self._names[name], 0))
        self._open[fd] = self._names[name], name
        return fd

    def close(self, fd: int) -> None:
        """Close a descriptor, even if that fails."""
        _, effect, _ = self._file_call("close", fd)
        del self._open[fd]
        super().close(fd)
        if effect is not None:
            raise _refusal(effect)

    def preadv(self, fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        """Read once."""
        _, effect, _ = self._file_call("preadv", fd)
        if effect == "short":
            buffers = [buffers[0][: _half(len(buffers[0]))]]
        return super().preadv(fd, buffers, offset)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        """Write once."""
        call, effect, file = self._file_call("pwrite", fd)
        if effect in {"short", "full"}:
            data = data[: _half(len(data))]
        written = super().pwrite(fd, data, offset)
        self._happen(call, Written(file, offset, bytes(data[:written])))
        return written

    def ftruncate(self, fd: int, size: int) -> None:
        """Cut or extend a file."""
        call, _, file = self._file_call("ftruncate", fd)
        super().ftruncate(fd, size)
        self._happen(call, Resized(file, size))

    def punch(self, fd: int, offset: int, nbytes: int) -> None:
        """Make a range read as zeros."""
        call, _, file = self._file_call("punch", fd)
        super().punch(fd, offset, nbytes)
        zeros = bytes(max(0, min(nbytes, self.size(fd) - offset)))
        self._happen(call, Written(file, offset, zeros))

    def fsync(self, fd: int) -> None:
        """Make a file durable."""
        self._sync("fsync", fd, super().fsync)

    def fdatasync(self, fd: int) -> None:
        """Make a file's content and size durable."""
        self._sync("fdatasync", fd, super().fdatasync)

    def _sync(self, kind: str, fd: int, sync: Callable[[int], None]) -> None:
        call, effect, file = self._file_call(kind, fd)
        if effect is None:
            sync(fd)
            self._happen(call, Synced(file))
            return
        self._happen(call, Forgotten(file))
        if effect == "sync gone":
            # The size is not a page: it stays.
            size, content = self.size(fd), self._medium.contents[file]
            super().ftruncate(fd, 0)
            super().pwrite(fd, memoryview(content[:size]), 0)
            super().ftruncate(fd, size)
        raise _refusal("EIO")

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        call, _ = self._call("link", self._name(target))
        if not self._links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        super().link(source, target)
        self._name_file(call, Named(target.name, self._names[source.name]))

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file over whatever has the name."""
        self._rename(source, target, super().rename)

    def rename_new(self, source: Path, target: Path) -> None:
        """Rename a file to a name that is free."""
        self._rename(source, target, super().rename_new)

    def _rename(self, source: Path, target: Path, rename: Callable[[Path, Path], None]) -> None:
        call, _ = self._call("rename", self._name(target))
        rename(source, target)
        self._name_file(call, Named(target.name, self._names.pop(source.name), source.name))

    def _name_file(self, call: Call, change: Named) -> None:
        self._names[change.name] = change.file
        self._happen(call, change)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        call, _ = self._call("unlink", self._name(path))
        super().unlink(path)
        self._names.pop(path.name, None)
        self._happen(call, Unnamed(path.name))

    def sync_directory(self, directory: Path) -> None:
        """Make the names in the directory durable."""
        call, _ = self._call("sync_directory", directory.name)
        super().sync_directory(directory)
        self._happen(call, Synced(None))

    def _name(self, path: Path) -> str:
        if path.parent != self._directory:
            raise ValueError(f"{path} does not lie in the simulated directory {self._directory}")
        return path.name


def _refusal(effect: Effect) -> OSError:
    number = errno.ENOSPC if effect == "ENOSPC" else errno.EIO
    return OSError(number, os.strerror(number))


def _half(nbytes: int) -> int:
    return max(1, nbytes // 2) if nbytes else 0
