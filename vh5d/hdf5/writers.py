"""Who is writing HDF5 files, as far as this machine can tell, without opening or locking them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vh5d.errors import SourceError
from vh5d.hdf5.locks import held_locks, process_name
from vh5d.hdf5.source_file import SourceFile

_FileId = tuple[int, int]  # device, inode


@dataclass(frozen=True)
class WriterState:
    """Signs that a file is being written; ``str()`` says it to people.

    Attributes
    ----------
    flag
        The superblock's consistency flags: 0, 1 (writing), 5 (SWMR writing). HDF5 sets them from
        superblock version 3 on, and a writer that crashed leaves them.
    process
        Who has it open for writing, or locked for it: "open for writing by python3 (pid 812)".
        None if nobody has, here, as far as this user may see.
    """

    flag: int
    process: str | None

    def __str__(self) -> str:
        if self.process is not None:
            return self.process
        if self.flag & 0x04:
            return "marked as being written with SWMR (HDF5 consistency flag)"
        return "marked as being written (HDF5 consistency flag)"


def writers(paths: Iterable[Path]) -> dict[Path, WriterState]:
    """Files that somebody seems to write.

    Processes on other machines are seen by the consistency flag only, those of other users by their
    locks and the flag, unless this is root.

    Parameters
    ----------
    paths
        Files to look for; what is missing or unreadable is left out. One scan of /proc serves all.

    Returns
    -------
    dict
        Of the paths that show any sign of a writer.
    """
    identities: dict[Path, _FileId] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            found = path.stat()
            identities[path] = (found.st_dev, found.st_ino)
    processes = _processes(set(identities.values())) if identities else {}
    states = {
        path: WriterState(_flag(path), processes.get(identity))
        for path, identity in identities.items()
    }
    return {path: state for path, state in states.items() if state.flag or state.process}


def _flag(path: Path) -> int:
    try:
        with SourceFile(path) as source:
            superblock = source.superblock()
    except SourceError:
        return 0
    return (superblock.status_flags or 0) if superblock else 0


def _processes(wanted: set[_FileId]) -> dict[_FileId, str]:
    found: dict[_FileId, str] = {}
    for lock in held_locks():
        identity = (lock.device, lock.inode)
        if lock.exclusive and lock.kind != "LEASE" and identity in wanted:
            found[identity] = f"write-locked by {_who(lock.pid)}"
    for pid, identity in _open_for_writing(wanted):
        found[identity] = f"open for writing by {_who(pid)}"
    return found


def _who(pid: int) -> str:
    return "this process" if pid == os.getpid() else process_name(pid)


def _open_for_writing(wanted: set[_FileId]) -> Iterator[tuple[int, _FileId]]:
    inodes = {inode for _device, inode in wanted}
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while they are looked at, and other users' may not be.
        with contextlib.suppress(OSError), os.scandir(process / "fd") as descriptors:
            for entry in descriptors:
                with contextlib.suppress(OSError):
                    identity = _written_file(entry, inodes)
                    if identity in wanted:
                        yield int(process.name), identity


def _written_file(entry: os.DirEntry[str], inodes: set[int]) -> _FileId | None:
    """The file behind a descriptor that may write one of the inodes."""
    # The link's own permissions tell how the file was opened.
    if not entry.stat(follow_symlinks=False).st_mode & stat.S_IWUSR:
        return None
    # To ask a file system that hangs is to hang: ask only for a descriptor of the right inode,
    # which the kernel (5.14 and later) tells by itself.
    details = Path(entry.path.replace("/fd/", "/fdinfo/")).read_text(encoding="utf-8")
    inode = next((line[4:] for line in details.splitlines() if line.startswith("ino:")), None)
    if inode is not None and int(inode) not in inodes:
        return None
    found = os.stat(entry.path)  # noqa: PTH116 - a descriptor, not a path
    return found.st_dev, found.st_ino
