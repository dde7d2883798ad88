"""How well each watched directory is seen."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: File systems that other machines write to, unheard of by inotify (names as in proc(5),
#: mountinfo; FUSE programs behind a dot).
_SHARED = re.compile(
    r"(nfs4?|cifs|smb3|smbfs|9p|afs|ceph|lustre|gpfs|beegfs|orangefs|virtiofs|vboxsf|ocfs2|gfs2"
    r"|fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|davfs2?|beegfs|juicefs|cvmfs2?|mountpoint-s3))"
)

MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Sight(StrEnum):
    """How changes in a root are heard of."""

    EVENTS = "events"
    POLLING = "polling"
    BLIND = "blind"
    GONE = "gone"


@dataclass(frozen=True)
class RootHealth:
    """How a root is seen, and why not better."""

    path: Path
    sight: Sight
    reason: str | None = None


def mounts(mountinfo: str | None = None) -> Iterator[tuple[Path, str]]:
    """Mount points and the types of what is mounted there; see proc(5), mountinfo."""
    if mountinfo is None:
        try:
            mountinfo = MOUNTINFO.read_text(errors="surrogateescape")
        except OSError:
            return
    for line in mountinfo.splitlines():
        fields = line.split()
        if "-" in fields:
            point = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4])
            yield Path(point), fields[fields.index("-") + 1]


def is_mounted(path: Path) -> bool:
    """Whether `path` is a mount point; os.path.ismount does not know bind mounts."""
    real = Path(os.path.realpath(path))
    return any(point == real for point, _ in mounts())


def shared_file_system(path: Path, mountinfo: str | None = None) -> str | None:
    """Type of the file system that `path` is on, if other machines may write to it.

    Parameters
    ----------
    path
        Absolute, without symbolic links.
    mountinfo
        The text of `/proc/self/mountinfo`.
    """
    kind = file_system(path, mountinfo)
    return kind if kind is not None and _SHARED.fullmatch(kind) else None


def file_system(path: Path, mountinfo: str | None = None) -> str | None:
    """Type of the file system that `path` is on, if that can be told; arguments as above."""
    best, kind = -1, None
    for point, found in mounts(mountinfo):
        # Of two mounts on one point the later covers the earlier.
        if len(point.parts) >= best and path.is_relative_to(point):
            best, kind = len(point.parts), found
    return kind


def watched_inodes() -> Counter[int]:
    """Inodes that this process has inotify watches on.

    From `/proc/self/fdinfo` (proc(5), "inotify wd:"), which knows better than any program's own
    account; one that is watched on two file systems counts twice.
    """
    inodes: Counter[int] = Counter()
    for descriptor in Path("/proc/self/fdinfo").iterdir():
        try:
            info = descriptor.read_text()
        except OSError:
            continue
        for line in info.splitlines():
            if line.startswith("inotify wd:"):
                fields = dict(field.split(":", 1) for field in line.split()[1:])
                inodes[int(fields["ino"], 16)] += 1
    return inodes


def unwatched(directories: Mapping[Path, int], watched: Counter[int]) -> set[Path]:
    """Directories, given with their inodes, that have no watch.

    When two have the same inode, on two file systems, and one of them no watch, both are returned.
    """
    inodes: dict[int, list[Path]] = {}
    for directory, inode in directories.items():
        inodes.setdefault(inode, []).append(directory)
    return {
        path for inode, paths in inodes.items() if watched[inode] < len(paths) for path in paths
    }
