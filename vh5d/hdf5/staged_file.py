"""A file as it will be after the commit being staged, the committed bytes on disk left alone."""

from __future__ import annotations

from vh5d.hdf5.disk import Disk, read_fully, write_fully
from vh5d.hdf5.journal import PAGE


class StagedFile:
    """Committed bytes under shadow pages, and appended bytes behind them.

    Bytes below the committed end are changed in shadow pages in memory; bytes past it go straight
    to the file, where nobody looks for them. Reads and writes at disjoint ranges may come from
    several threads at once. There is deliberately no lock: HDF5's own is held while its driver
    writes here, and a thread that held ours could come to wait for it in a garbage collection.
    Single operations on dicts and bytearrays are atomic, and that is all this needs.

    Parameters
    ----------
    disk, fd
        The file, open for reading and writing.
    base
        Committed end in bytes.
    """

    def __init__(self, disk: Disk, fd: int, base: int) -> None:
        self.base = base
        self.size = base
        self.floor = base
        self.pages: dict[int, bytearray] = {}
        self._disk = disk
        self._fd = fd

    @property
    def changed(self) -> bool:
        """Whether anything was staged below the committed end, or the end moved."""
        return bool(self.pages) or self.size != self.base or self.floor != self.base

    def read_into(self, view: memoryview, at: int) -> None:
        """Fill `view` with the staged bytes from offset `at`; past the end they are zeros."""
        read_fully(self._disk, self._fd, view, at)
        if at >= self.base:
            return
        end = min(at + len(view), self.base)
        forgotten = max(at, self.floor)
        if forgotten < end:
            view[forgotten - at : end - at] = bytes(end - forgotten)
        if self.pages:
            self._overlay(view, at, end)

    def _overlay(self, view: memoryview, at: int, end: int) -> None:
        first, last = at // PAGE, (end - 1) // PAGE
        numbers = range(first, last + 1)
        for number in numbers if len(numbers) < len(self.pages) else list(self.pages):
            page = self.pages.get(number)
            if page is None or not first <= number <= last:
                continue
            start = number * PAGE
            low, high = max(at, start), min(end, start + len(page))
            view[low - at : high - at] = page[low - start : high - start]

    def write(self, view: memoryview, at: int) -> None:
        """Stage bytes at offset `at`."""
        end = at + len(view)
        position = at
        while position < min(end, self.base):
            number = position // PAGE
            start = number * PAGE
            stop = min(end, start + PAGE, self.base)
            whole = position == start and stop == min(start + PAGE, self.base)
            page = self.page(number, blank=whole)
            page[position - start : stop - start] = view[position - at : stop - at]
            position = stop
        if position < end:
            write_fully(self._disk, self._fd, view[position - at :], position)

    def page(self, number: int, *, blank: bool = False) -> bytearray:
        """The shadow page of that number, made from the committed bytes if it is new.

        With `blank` a new one is zeros: all of it is about to be written.
        """
        page = self.pages.get(number)
        if page is not None:
            return page
        start = number * PAGE
        fresh = bytearray(min(PAGE, self.base - start))
        known = min(len(fresh), self.floor - start)
        if known > 0 and not blank:
            read_fully(self._disk, self._fd, memoryview(fresh)[:known], start)
        return self.pages.setdefault(number, fresh)

    def truncate(self, size: int) -> None:
        """Stage a new size; bytes cut off here read as zeros if the file grows again."""
        old, self.size = self.size, size
        if size >= old:
            return
        for number in list(self.pages) if size < self.base else ():
            start = number * PAGE
            if start >= size:
                del self.pages[number]
            elif start + PAGE > size:
                page = self.pages[number]
                page[size - start :] = bytes(len(page) - (size - start))
        self.floor = min(self.floor, size)
        self._disk.ftruncate(self._fd, max(size, self.base))

    def leave(self) -> None:
        """Read and write no more: the number of the descriptor may soon be another file's."""
        self._fd = -1

    def forget(self) -> None:
        """Go back to the committed state, but for the bytes past its end on the disk."""
        self.pages = {}
        self.size = self.floor = self.base
