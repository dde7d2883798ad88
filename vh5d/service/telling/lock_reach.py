"""How far the locks on a store's file system reach: to all hosts, on this one only, nowhere.

One writer at a time is what keeps a store whole. Between hosts the file system has to see to that,
and some are mounted so that they do not: nothing fails then, until two hosts write one store.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import structlog

from vh5d.hdf5.locks import try_lock
from vh5d.policy import Policy
from vh5d.policy.patience import ask
from vh5d.policy.places import store_places
from vh5d.service.watching.sight import MOUNTINFO, shared_file_system

#: Options of mounts whose locks stay on this host: nfs(5), mount.cifs(8), mount.lustre(8).
_LOCAL = {
    "nfs": {"nolock", "local_lock=all", "local_lock=flock"},
    "nfs4": {"nolock", "local_lock=all", "local_lock=flock"},
    "cifs": {"nobrl"},
    "smb3": {"nobrl"},
    "lustre": {"localflock"},
}
#: File systems that tell their server nothing of flock(2).
_NEVER = re.compile(r"vboxsf|fuse\.(sshfs|s3fs|rclone|davfs2?|cvmfs2?|mountpoint-s3)")

log = structlog.stdlib.get_logger(__name__)


class Reach(StrEnum):
    """Whom a lock keeps out."""

    EVERYBODY = "everybody"
    THIS_HOST = "this host"
    NOBODY = "nobody"


@dataclass(frozen=True)
class LockReach:
    """How far locks in a directory reach, and why no further."""

    reach: Reach
    reason: str | None = None


def lock_reach(directory: Path, mountinfo: str | None = None) -> LockReach:
    """How far locks in a directory reach, as far as this host can tell.

    Parameters
    ----------
    directory
        Absolute, without symbolic links; it is tried with a file of our own if it is there.
    mountinfo
        The text of `/proc/self/mountinfo`.
    """
    failure = _try(directory)
    if failure is not None:
        return LockReach(Reach.NOBODY, failure)
    kind = shared_file_system(directory, mountinfo)
    if kind is None:
        return LockReach(Reach.EVERYBODY)
    if _NEVER.fullmatch(kind):
        return LockReach(Reach.THIS_HOST, f"{kind} keeps locks to itself")
    local = _options(directory, mountinfo) & _LOCAL.get(kind, set())
    if local:
        return LockReach(Reach.THIS_HOST, f"{kind} is mounted with {', '.join(sorted(local))}")
    return LockReach(Reach.EVERYBODY)


def warn_of_locks(policies: Iterable[Policy]) -> None:
    """Say where stores are whose locks do not keep all other hosts out."""
    places = {place: policy for policy in policies for place in store_places(policy)}
    for place, policy in places.items():
        answers: list[LockReach] = []
        if not ask(partial(_append, answers, place), otherwise=False):
            continue  # the watcher says what does not answer
        found = answers[0]
        about = {"path": str(place), "policy": policy.name, "reason": found.reason}
        if found.reach is Reach.NOBODY:
            log.error("stores cannot be locked here, captures will fail", **about)
        elif found.reach is Reach.THIS_HOST:
            log.warning("locks do not keep other hosts out, let only one host capture", **about)


def _append(answers: list[LockReach], place: Path) -> bool:
    answers.append(lock_reach(Path(os.path.realpath(place))))
    return True


def _try(directory: Path) -> str | None:
    """What goes wrong with a lock in it; None: nothing, or it cannot be tried."""
    try:
        first, name = tempfile.mkstemp(dir=directory, prefix=".lock-", suffix=".lock")
    except OSError:
        return None
    second = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not try_lock(first, fcntl.LOCK_EX):
            return "a lock on a new file is refused"
        if try_lock(second, fcntl.LOCK_EX):
            return "two have the same lock at a time"
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(second)
        os.close(first)
        Path(name).unlink(missing_ok=True)
    return None


def _options(directory: Path, mountinfo: str | None) -> set[str]:
    """Options of the mount that a directory is on."""
    if mountinfo is None:
        try:
            mountinfo = MOUNTINFO.read_text(errors="surrogateescape")
        except OSError:
            return set()
    best, options = -1, ""
    for line in mountinfo.splitlines():
        fields = line.split()
        if "-" not in fields:
            continue
        point = Path(fields[4].replace("\\040", " "))
        if len(point.parts) >= best and directory.is_relative_to(point):
            best, options = len(point.parts), f"{fields[5]},{fields[-1]}"
    return set(options.split(","))
