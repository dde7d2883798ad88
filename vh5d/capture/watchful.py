"""A source that is watched while it is read: it must be at rest from beginning to end."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from vh5d.capture.options import Busy
from vh5d.errors import SourceBusyError, SourceChangedError
from vh5d.hdf5.source_file import SourceFile
from vh5d.hdf5.writers import writers

# The kernel stamps files with the time of its last tick, 10 ms at the longest: a write that
# follows another within a tick does not show in the modification time.
TICK_NS = 20_000_000


class WatchfulSource:
    """A source open for reading that notices every change since it was opened.

    Parameters
    ----------
    path
        The source.
    busy
        What to do about a source that somebody has open for writing: ``refuse``; ``try``, in the
        hope that it can be read whole; or ``swmr``, to read one that is written with SWMR as it
        grows, and refuse others.
    real
        What the path must lead to, links resolved; None: anywhere.

    Raises
    ------
    SourceError
        It cannot be read, is being written, or is not `real`.
    """

    def __init__(self, path: Path, *, busy: Busy = "refuse", real: Path | None = None) -> None:
        self.path = path
        self.file = SourceFile(path)
        try:
            self._check_place(real)
            # In this order: whoever is not seen to have it open now has either closed it, or will
            # change what is compared in the end.
            _wait_out_tick(self.file.stat())
            self.status = self.file.stat()
            self.superblock = self.file.superblock()
            self.writer = self._writer()
            self.growing = busy == "swmr" and self._is_shared()
            self._check_idle(busy)
        except BaseException:
            self.file.close()
            raise
        self.file.size = self.status.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.file.close()

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.status.st_size

    @property
    def store_mode(self) -> int:
        """Permissions of a store of it: nobody may read there who may not read here."""
        return 0o600 | (self.status.st_mode & 0o066)

    @property
    def marked(self) -> bool:
        """Whether its superblock says that somebody writes it, or did when it died."""
        return self.superblock is not None and self.superblock.writing

    def check_at_rest(self) -> None:
        """Refuse what was read when anything moved meanwhile that must not.

        A file that is read as it grows may grow, as long as its writer goes on with SWMR.

        Raises
        ------
        SourceChangedError
        """
        if self.file.error is not None:
            raise self.file.error
        now = self.file.stat()
        if self.growing:
            self._check_growing(now)
            return
        if _identity(now) != _identity(self.status):
            raise SourceChangedError(
                f"{self.path}: changed while it was read", hint="try again when it is at rest"
            )
        if self.file.superblock() != self.superblock:
            raise SourceChangedError(
                f"{self.path}: was opened for writing while it was read",
                hint="try again when it is at rest",
            )

    def _is_shared(self) -> bool:
        return self.marked and self.superblock is not None and self.superblock.swmr

    def _check_growing(self, now: os.stat_result) -> None:
        self.superblock = self.file.superblock()
        if now.st_size < self.status.st_size or not self._is_shared():
            raise SourceChangedError(
                f"{self.path}: was closed while it was read", hint="try again when it is at rest"
            )

    def _check_place(self, real: Path | None) -> None:
        if real is not None and self.file.real_path() != real:
            raise SourceChangedError(
                f"{self.path}: leads elsewhere by now", hint="see who moved it"
            )

    def _check_idle(self, busy: Busy) -> None:
        if self.writer is not None and busy != "try" and not self.growing:
            raise SourceBusyError(
                f"{self.path}: {self.writer}", hint="wait until it is closed, or say --busy"
            )

    def _writer(self) -> str | None:
        state = writers([self.path]).get(self.path)
        return state.process if state is not None else None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _wait_out_tick(status: os.stat_result) -> None:
    age = time.time_ns() - status.st_mtime_ns
    if 0 <= age < TICK_NS:
        time.sleep((TICK_NS - age) / 1e9)
