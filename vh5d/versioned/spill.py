"""Scratch space for what is being staged: in memory up to a budget, then in a temporary file."""

from __future__ import annotations

import io
import os
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py

from vh5d.errors import StoreWriteError
from vh5d.hdf5.draft import empty_file
from vh5d.store import layout

DEFAULT_BUDGET = 256 * 2**20
MOST_KEPT = 2**20  # bytes of a file that is used again
CHUNK_CACHE_NBYTES = 2**20  # HDF5's default before 2.0, where it grew to 8 MiB a dataset


class SpillFile:
    """A file for HDF5 to write to, in memory until it grows beyond a budget.

    HDF5 takes an exception or a short write in a callback badly: `write` never raises; what went
    wrong first is kept in `error`, and everything written after it is dropped.

    Parameters
    ----------
    budget_bytes
        What may be held in memory.
    directory
        Where the temporary file is made; the system's own place for them by default.
    """

    def __init__(self, budget_bytes: int, directory: Path | None = None) -> None:
        self.budget_bytes = budget_bytes
        self.directory = directory
        self.error: OSError | None = None
        self.dropping = False
        self._file: io.BytesIO | io.FileIO = io.BytesIO()

    @property
    def spilled(self) -> bool:
        """Whether the temporary file is in use."""
        return not isinstance(self._file, io.BytesIO)

    @property
    def held_bytes(self) -> int:
        """Bytes held in memory."""
        return len(self._file.getbuffer()) if isinstance(self._file, io.BytesIO) else 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as a file does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def read(self, nbytes: int) -> bytes:
        """Return so many bytes; h5py knows a file by this method."""
        data = bytearray(nbytes)
        self.readinto(memoryview(data))
        return bytes(data)

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; what lies beyond the end reads as zeros."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            n = self._file.readinto(view[done:])
            if not n:
                break
            done += n
        view[done:] = bytes(len(view) - done)
        return len(view)

    def write(self, data: memoryview) -> int:
        """Write all of it, or keep the error."""
        view = memoryview(data).cast("B")
        if self.dropping or self.error is not None:
            return len(view)
        try:
            if (
                isinstance(self._file, io.BytesIO)
                and self._file.tell() + len(view) > self.budget_bytes
            ):
                self._file = self._spilled(self._file)
            _write_all(self._file, view)
        except OSError as error:
            self.error = error
        return len(view)

    def truncate(self, size: int) -> int:
        """Set the size, or keep the error."""
        if not self.dropping and self.error is None:
            try:
                self._file.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Do nothing: nobody else reads it."""

    def close(self) -> None:
        """Free the memory or the temporary file."""
        self.dropping = True
        self._file.close()

    def __del__(self) -> None:
        self.close()

    def _spilled(self, held: io.BytesIO) -> io.FileIO:
        file: Any = tempfile.TemporaryFile(  # noqa: SIM115 - closed by close()
            buffering=0, prefix="vh5d-", dir=self.directory
        )
        _write_all(file, held.getbuffer())
        file.seek(held.tell())
        spilled: io.FileIO = file
        return spilled


def _write_all(file: io.BytesIO | io.FileIO, view: memoryview) -> None:
    done = 0
    while done < len(view):
        done += file.write(view[done:])


class Scratch:
    """A temporary HDF5 file, where datasets that are being staged keep what was touched.

    One may serve many datasets; the budget is that of all together. Use it as a context manager,
    or close it.

    Parameters
    ----------
    budget_bytes
        What may be held in memory before it goes to a temporary file.
    directory
        Where the temporary file is made, if it comes to that.
    libver
        Bounds of the format, as h5py has them.
    """

    def __init__(
        self,
        budget_bytes: int = DEFAULT_BUDGET,
        *,
        directory: Path | None = None,
        libver: tuple[str, str] | None = None,
    ) -> None:
        self._libver = libver
        self._spill = SpillFile(budget_bytes, directory)
        self._file: h5py.File | None = None

    @property
    def spilled(self) -> bool:
        """Whether the budget was exceeded."""
        return self._spill.spilled

    @property
    def held_bytes(self) -> int:
        """Bytes held in memory, HDF5's caches apart."""
        return self._spill.held_bytes

    def create(self, **properties: Any) -> h5py.Dataset:
        """Return a new dataset without a name; it takes what `create_dataset` takes."""
        return self.file.create_dataset(None, **properties)

    @property
    def file(self) -> h5py.File:
        """The file, made when it is first needed."""
        if self._file is None:
            self._file = h5py.File(
                self._spill, "w", libver=self._libver, rdcc_nbytes=CHUNK_CACHE_NBYTES
            )
        return self._file

    def check(self) -> None:
        """Raise if anything written could not be kept.

        Raises
        ------
        StoreWriteError
            The temporary file could not be written.
        """
        if self._spill.error is not None:
            raise StoreWriteError(
                f"cannot write the temporary file of what is staged: {self._spill.error}",
                hint="make room there, set TMPDIR, or allow more memory",
            ) from self._spill.error

    def empty(self) -> bool:
        """Close all that is open in the file, and delete all that is in it.

        Returns
        -------
        Whether the file is fit to be used again.
        """
        if self._file is None or self._spill.error is not None:
            return False
        if self.spilled or self.held_bytes > MOST_KEPT:
            return False
        return empty_file(self._file.id, layout.ROOT.encode())

    def close(self) -> None:
        """Drop everything."""
        self._spill.dropping = True
        if self._file is not None:
            self._file.close()
        self._spill.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Drafts:
    """Scratch files for one version after the other.

    To make an HDF5 file and to close it takes longer than to empty it.
    """

    def __init__(self) -> None:
        self._idle: list[Scratch] = []
        # HDF5 must not find it open when the interpreter is gone.
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    def take(self) -> Scratch:
        """Return an empty one, for the caller alone."""
        return self._idle.pop() if self._idle else Scratch(libver=layout.LIBVER)

    def give_back(self, scratch: Scratch) -> None:
        """Take one back; whatever is open in it is closed."""
        fit = False
        with suppress(OSError, RuntimeError):  # it is closed then
            fit = not self._idle and self._finalizer.alive and scratch.empty()
        if fit:
            self._idle.append(scratch)
        else:
            scratch.close()

    def close(self) -> None:
        """Close what is kept, and keep no more."""
        self._finalizer()


def _close_all(idle: list[Scratch]) -> None:
    while idle:
        with suppress(OSError, RuntimeError):  # it is rubbish
            idle.pop().close()
