"""A disk that fails, or loses power, at any operation."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vh5d.hdf5.disk import Disk

SECTOR = 512


class PowerCutError(BaseException):
    """The machine is off: not an Exception, so that nothing handles it."""


@dataclass
class _Content:
    """What is durable of a file, and what was done to it since."""

    durable: bytes
    pending: list[Callable[[bytearray], None]] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self.after(self.pending)
        self.pending = []

    def after(self, operations: list[Callable[[bytearray], None]]) -> bytes:
        content = bytearray(self.durable)
        for operation in operations:
            operation(content)
        return bytes(content)


class SimulatedDisk(Disk):
    """The real disk, under a directory, that can be told to fail.

    Parameters
    ----------
    directory
        Where everything happens; what lies in it now is durable.
    crash_at
        Number of the operation at which the power goes, from 0. A write is half done then.
    fail_at, error, sticky
        Number of the operation that fails, with which errno, and whether all later ones do.
    reads
        Whether reads count as operations.
    """

    def __init__(
        self,
        directory: Path,
        *,
        crash_at: int | None = None,
        fail_at: int | None = None,
        error: int = errno.EIO,
        sticky: bool = False,
        reads: bool = False,
    ) -> None:
        self.operations: list[str] = []
        self.dead = False
        self._directory = directory
        self._crash_at = crash_at
        self._fail_at = fail_at
        self._error = error
        self._sticky = sticky
        self._reads = reads
        self._names = {p.name: _Content(p.read_bytes()) for p in directory.iterdir()}
        self._durable_names = dict(self._names)
        self._pending_names: list[Callable[[dict[str, _Content]], None]] = []
        self._open: dict[int, _Content] = {}

    def _step(self, name: str) -> None:
        if self.dead:
            raise PowerCutError
        number = len(self.operations)
        self.operations.append(name)
        if number == self._crash_at:
            self.dead = True
            if name != "pwrite":
                raise PowerCutError
        at = self._fail_at
        if at is not None and (number == at or (self._sticky and number > at)):
            raise OSError(self._error, os.strerror(self._error))

    def _rename(self, change: Callable[[dict[str, _Content]], None]) -> None:
        change(self._names)
        self._pending_names.append(change)

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_CREAT or self.dead:
            self._step("open")
        fd = super().open(path, flags, mode)
        name = path.name
        if name not in self._names:
            content = _Content(b"")
            self._rename(lambda names: names.__setitem__(name, content))
        self._open[fd] = self._names[name]
        if flags & os.O_TRUNC:
            self._open[fd].pending.append(lambda content: _resize(content, 0))
        return fd

    def close(self, fd: int) -> None:
        super().close(fd)
        del self._open[fd]

    def preadv(self, fd, buffers, offset):
        if self._reads or self.dead:
            self._step("preadv")
        return super().preadv(fd, buffers, offset)

    def pwrite(self, fd, data, offset):
        self._step("pwrite")
        if self.dead:
            data = data[: len(data) // 2]
        written = super().pwrite(fd, data, offset)
        self._wrote(fd, bytes(data[:written]), offset)
        if self.dead:
            raise PowerCutError
        return written

    def _wrote(self, fd: int, data: bytes, offset: int) -> None:
        # A disk writes whole sectors, in any order.
        at = offset
        while at < offset + len(data):
            stop = min(offset + len(data), (at // SECTOR + 1) * SECTOR)
            self._open[fd].pending.append(_patch(at, data[at - offset : stop - offset]))
            at = stop

    def ftruncate(self, fd, size):
        self._step("ftruncate")
        super().ftruncate(fd, size)
        self._open[fd].pending.append(lambda content: _resize(content, size))

    def punch(self, fd, offset, nbytes):
        self._step("punch")
        super().punch(fd, offset, nbytes)
        self._wrote(fd, bytes(max(0, min(nbytes, self.size(fd) - offset))), offset)

    def fsync(self, fd):
        self._step("fsync")
        self._open[fd].sync()

    def fdatasync(self, fd):
        self._step("fdatasync")
        self._open[fd].sync()

    def link(self, source, target):
        self._step("link")
        super().link(source, target)
        content = self._names[source.name]
        self._rename(lambda names: names.__setitem__(target.name, content))

    def rename(self, source, target):
        self._step("rename")
        super().rename(source, target)
        self._rename(lambda names: names.__setitem__(target.name, names.pop(source.name)))

    def unlink(self, path):
        self._step("unlink")
        super().unlink(path)
        self._rename(lambda names: names.pop(path.name, None))

    def sync_directory(self, directory):
        self._step("sync_directory")
        self._durable_names = dict(self._names)
        self._pending_names = []

    def lose_power(self, chance: random.Random, kept: float) -> None:
        """Leave in the directory what a disk may hold after the power went.

        Parameters
        ----------
        chance
            Decides what of the unsynced survives: any of the sectors written, a first part of the
            changes of names.
        kept
            How probable it is of each sector.
        """
        names = dict(self._durable_names)
        changes = self._pending_names
        survived = round(len(changes) * kept) if kept in {0, 1} else chance.randint(0, len(changes))
        for change in changes[:survived]:
            change(names)
        for path in self._directory.iterdir():
            path.unlink()
        for name, content in names.items():
            operations = [op for op in content.pending if chance.random() < kept]
            (self._directory / name).write_bytes(content.after(operations))


def _patch(at: int, data: bytes) -> Callable[[bytearray], None]:
    def apply(content: bytearray) -> None:
        if len(content) < at:
            _resize(content, at)
        content[at : at + len(data)] = data

    return apply


def _resize(content: bytearray, size: int) -> None:
    content[size:] = bytes(max(0, size - len(content)))
