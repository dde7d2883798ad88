"""How well each watched directory is seen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: File systems that other machines write to, unheard of by inotify (names as in proc(5),
#: mountinfo; FUSE programs behind a dot).
_SHARED = re.compile(
    r"(nfs4?|cifs|smb3|smbfs|9p|afs|ceph|lustre|gpfs|beegfs|orangefs|virtiofs|vboxsf|ocfs2|gfs2"
    r"|fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|davfs2?|beegfs|juicefs|cvmfs2?|mountpoint-s3))"
)


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


def shared_file_system(path: Path, mountinfo: str | None = None) -> str | None:
    """Type of the file system that `path` is on, if other machines may write to it.

    Parameters
    ----------
    path
        Absolute.
    mountinfo
        The text of `/proc/self/mountinfo`.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
        except OSError:
            return None
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields = line.split()
        if "-" not in fields:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        # Of two mounts on one point the later covers the earlier.
        if len(point.parts) >= best and path.is_relative_to(point):
            best, kind = len(point.parts), fields[fields.index("-") + 1]
    return kind if _SHARED.fullmatch(kind) else None


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


def unwatched(directories: Collection[Path], watched: Counter[int]) -> set[Path]:
    """Directories that have no watch.

    When two have the same inode, on two file systems, and one of them no watch, both are returned.
    """
    inodes: dict[int, list[Path]] = {}
    for directory in directories:
        try:
            inodes.setdefault(directory.stat().st_ino, []).append(directory)
        except OSError:
            continue  # gone by now
    return {
        path for inode, paths in inodes.items() if watched[inode] < len(paths) for path in paths
    }
