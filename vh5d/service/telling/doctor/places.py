"""Directories: those that are watched, those that stores go to, the state directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import grp
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vh5d.hdf5.disk import Disk
from vh5d.policy import Policy
from vh5d.policy.patience import ask
from vh5d.policy.places import store_places
from vh5d.policy.units import format_size
from vh5d.service.telling.doctor.finding import Finding, quoted
from vh5d.service.telling.lock_reach import Reach, lock_reach
from vh5d.service.watching.sight import file_system, shared_file_system

#: Less free space, in bytes and in parts, does not last; less inodes neither.
LEAST_BYTES, LEAST_PART, LEAST_INODES = 1 << 30, 0.01, 10_000
#: Less than this part is to be noted.
LITTLE = 0.05
#: Seconds that the clock of a file server may be off.
MOST_SKEW = 2.0
#: Directories that are counted at most, and seconds that it may take.
MOST_DIRECTORIES, COUNTING = 1_000_000, 20.0
#: Bytes of the file that holes are tried with.
_TRIAL = 1 << 20
#: linux/fs.h, FICLONE: _IOW(0x94, 9, int)
_FICLONE = 0x40049409
_MODES = {errno.EACCES, errno.EPERM}


def watched(policy: Policy, root: Path) -> Iterator[Finding]:
    """A directory that is to be watched."""
    check = str(root)
    if not ask(lambda: root.exists() or True, otherwise=False):
        yield Finding(check, "bites", "does not answer", f"mount | grep {quoted(root)}")
        return
    if not root.is_dir():
        yield Finding(check, "bites", "is not there", f"mkdir -p {quoted(root)}")
        return
    if not os.access(root, os.R_OK | os.X_OK):
        mend = f"sudo setfacl -R -m u:{_user()}:rX,d:u:{_user()}:rX {quoted(root)}"
        yield Finding(check, "bites", "may not be read by this user", mend)
        return
    shared = shared_file_system(Path(os.path.realpath(root)))
    if shared is None:
        yield Finding(check, "ok", f"is there, on {file_system(root) or 'an unknown file system'}")
        return
    if policy.observer == "inotify":
        message = f"is on {shared}: what other machines write is not heard of"
        yield Finding(check, "bites", message, "say `observer: auto` in its policy")
    else:
        every = f"{policy.poll_interval:g} s"
        yield Finding(check, "note", f"is on {shared}: looked at every {every} or so")
    if policy.while_open == "swmr":
        message = f"is on {shared}: SWMR needs a local file system, or one that keeps the order"
        yield Finding(check, "bites", message, "say `while_open: wait` in its policy")


def count_directories(policies: tuple[Policy, ...]) -> int:
    """How many directories inotify would have to watch, counted for so long and no longer."""
    ends, count = time.monotonic() + COUNTING, 0
    for policy in policies:
        if policy.observer == "polling":
            continue
        waiting = [place.path for place in policy.watched]
        recursive = any(place.recursive for place in policy.watched)
        while waiting and count < MOST_DIRECTORIES and time.monotonic() < ends:
            here = waiting.pop()
            count += 1
            with contextlib.suppress(OSError), os.scandir(here) as entries:
                for entry in entries:
                    if recursive and entry.is_dir(follow_symlinks=False):
                        path = Path(entry.path)
                        waiting += [] if policy.skips(path) else [path]
    return count


def stores(policy: Policy) -> Iterator[Finding]:
    """Where the stores of a policy go."""
    for place in store_places(policy):
        there = _nearest(place)
        yield from _writing(f"stores in {place}", there)
        locks = lock_reach(Path(os.path.realpath(there)))
        if locks.reach is Reach.THIS_HOST:
            message = f"locks do not keep other hosts out: {locks.reason}"
            mend = "mount it with locks, or let only one host capture"
            yield Finding(f"stores in {place}", "note", message, mend)
        yield from room(f"stores in {place}", there)
    if policy.store_group is not None:
        yield from _group(policy.store_group)


def _writing(check: str, directory: Path) -> Iterator[Finding]:
    """Try in a directory what a commit does: write, lock, punch a hole."""
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".vh5d-doctor-") as file:
            skew = os.fstat(file.fileno()).st_mtime - time.time()
            locks, holes, clones = _locks(file.name), _holes(file.fileno()), _clones(file.name)
    except OSError as error:
        mend = f"sudo mount -o remount,rw {quoted(directory)}"
        if error.errno in _MODES:
            mend = f"sudo setfacl -m u:{_user()}:rwx {quoted(directory)}"
        elif error.errno == errno.ENOSPC:
            mend = f"df -h {quoted(directory)}"
        message = f"{directory} cannot be written: {error.strerror}"
        yield Finding(check, "bites", message, mend)
        return
    if not locks:
        message = "locks do not work there: two writers could damage a store"
        mend = "mount it with locks (NFS: without `nolock`), or say another `store`"
        yield Finding(check, "bites", message, mend)
    if not holes:
        message = "holes do not work there: dropped versions give back space when rewritten only"
        yield Finding(check, "note", message, "vh5d compact FILE")
    if abs(skew) > MOST_SKEW:
        message = f"the file server's clock is {skew:+.0f} s off"
        yield Finding(check, "note", message, "have both machines ask one time server")
    if locks:
        kind = file_system(directory) or "an unknown file system"
        can = ["locks"] + ["holes"] * holes + ["reflinks"] * clones
        yield Finding(check, "ok", f"can be written; {kind} with {', '.join(can)}")


def room(check: str, directory: Path) -> Iterator[Finding]:
    """Free space and inodes."""
    usage, inodes = shutil.disk_usage(directory), os.statvfs(directory)
    said = f"{format_size(usage.free)} of {format_size(usage.total)} are free"
    mend = "vh5d prune … --keep-last 10, a `retention` in the policy, or a larger disk"
    if usage.free < max(LEAST_BYTES, LEAST_PART * usage.total):
        yield Finding(check, "bites", said, mend)
    elif usage.free < LITTLE * usage.total:
        yield Finding(check, "note", said, mend)
    else:
        yield Finding(check, "ok", said)
    if inodes.f_files and inodes.f_favail < LEAST_INODES:
        message = f"only {inodes.f_favail:,} more files fit there"
        yield Finding(check, "bites", message, f"df -i {quoted(directory)}")


def state(directory: Path) -> Iterator[Finding]:
    """Where the embedded broker keeps its data."""
    check, there = f"state in {directory}", _nearest(directory)
    shared = shared_file_system(Path(os.path.realpath(there)))
    if shared is not None:
        message = f"is on {shared}: the queue needs a local disk"
        yield Finding(check, "bites", message, "say --state DIR, or `state` in the configuration")
    found = os.lstat(there)
    if there == directory and found.st_uid != os.geteuid():
        owner = f"sudo chown -R {_user()} {quoted(directory)}"
        yield Finding(check, "bites", "belongs to somebody else", owner)
    elif not os.access(there, os.W_OK | os.X_OK):
        message = f"{there} cannot be written"
        yield Finding(check, "bites", message, "say --state DIR")
    else:
        yield Finding(check, "ok", "can be written")
    yield from room(check, there)


def _group(name: str) -> Iterator[Finding]:
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        message = "there is no such group"
        yield Finding(f"group {name}", "bites", message, f"sudo groupadd {quoted(name)}")
        return
    if os.geteuid() != 0 and number not in {os.getegid(), *os.getgroups()}:
        mend = f"sudo usermod -aG {quoted(name)} {_user()}"
        yield Finding(f"group {name}", "bites", "this user is not in it", mend)


def _nearest(path: Path) -> Path:
    """The directory itself, or the nearest above it that is there."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _locks(name: str) -> bool:
    with open(name, "rb+") as one, open(name, "rb+") as other:  # noqa: PTH123 - a name is at hand
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _holes(descriptor: int) -> bool:
    os.pwrite(descriptor, b"\1" * _TRIAL, 0)
    os.fsync(descriptor)
    before = os.fstat(descriptor).st_blocks
    try:
        Disk().punch(descriptor, 0, _TRIAL)
    except OSError:
        return False
    return os.fstat(descriptor).st_blocks < before


def _clones(name: str) -> bool:
    with (
        open(name, "rb") as source,  # noqa: PTH123
        tempfile.NamedTemporaryFile(dir=Path(name).parent, prefix=".vh5d-doctor-") as target,
    ):
        try:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
        except OSError:
            return False
    return True


def _user() -> str:
    try:
        return quoted(getpass.getuser())
    except (KeyError, OSError):
        return str(os.geteuid())
