"""The machine and the environment of this process."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
import time
import zoneinfo
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vh5d.service.telling.doctor.finding import Finding

INOTIFY = Path("/proc/sys/fs/inotify")
#: Open files that a service needs at least: watches, stores, sources, connections.
OPEN_FILES = 1024
#: The part of the watches that one service may take: others need some.
SHARE = 0.8
#: adjtimex(2): the clock is not synchronised.
_TIME_ERROR = 5
_PACKAGES = ("h5py", "hdf5plugin", "numpy", "celery", "redis", "watchdog")
#: A clock that shows less was never set: the release of this program, or thereabouts.
_LEAST_TIME = 1_750_000_000


def versions() -> Iterator[Finding]:
    """What runs here."""
    import h5py

    names = [f"Linux {platform.release()}", f"Python {platform.python_version()}"]
    names.append(f"HDF5 {h5py.version.hdf5_version}")
    for package in _PACKAGES:
        try:
            names.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    yield Finding("versions", "ok", ", ".join(names))


def watches(directories: int, where: Path = INOTIFY) -> Iterator[Finding]:
    """Whether inotify can watch so many directories.

    Parameters
    ----------
    where
        The kernel's limits; see inotify(7).
    """
    most, queue = (_number(where / f"max_{name}") for name in ("user_watches", "queued_events"))
    if most is None or queue is None:
        mend = "say `observer: polling` in the configuration"
        yield Finding("inotify", "bites", "this kernel has none", mend)
        return
    noun = "directory" if directories == 1 else "directories"
    said = f"{directories:,} {noun} to be watched, {most:,} watches for each user"
    if directories > SHARE * most:
        wanted = max(524_288, 2 * directories)
        message = f"{said}: those without are looked at every few seconds only"
        yield Finding("inotify", "bites", message, _sysctl("max_user_watches", wanted))
    else:
        yield Finding("inotify", "ok", said)
    if queue < 16_384:
        message = f"{queue:,} events are remembered: a burst of more needs a look at everything"
        yield Finding("inotify", "note", message, _sysctl("max_queued_events", 65_536))
    yield from _instance(where)


def _instance(where: Path) -> Iterator[Finding]:
    descriptor = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if descriptor >= 0:
        os.close(descriptor)
        return
    most, why = _number(where / "max_user_instances"), os.strerror(ctypes.get_errno())
    message = f"no further watcher can begin: {why} ({most} for each user)"
    yield Finding("inotify", "bites", message, _sysctl("max_user_instances", 1024))


def clock() -> Iterator[Finding]:
    """Whether the clock was set, and is kept right."""
    now = time.time()
    mend = "sudo timedatectl set-ntp true"
    if now < _LEAST_TIME:
        yield Finding("clock", "bites", f"was never set: {time.ctime(now)}", mend)
    elif _clock_state() == _TIME_ERROR:
        message = "is not synchronised: times of versions may be wrong (their order is not)"
        yield Finding("clock", "note", message, mend)
    else:
        yield Finding("clock", "ok", "is set and synchronised")


def _clock_state() -> int:
    # struct timex (adjtimex(2)) is 208 bytes with 64 bits; all zero asks without changing anything.
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))


def time_zone(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Whether the time zone is one: nights and days are by it."""
    name = environment.get("TZ", "").lstrip(":")
    if name and not name.startswith("/") and "," not in name and not _is_zone(name):
        message = f"TZ={name} is no time zone that this machine knows: all is in UTC"
        yield Finding("time zone", "bites", message, "unset TZ, or e.g. TZ=Europe/Berlin")
    else:
        yield Finding("time zone", "ok", time.strftime("%Z, UTC%z: it is %Y-%m-%d %H:%M:%S"))


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return any(character.isdigit() for character in name)  # POSIX: CET-1CEST
    return True


def locale() -> Iterator[Finding]:
    """Whether every file name can be said."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") == "utf8":
        yield Finding("locale", "ok", f"file names are {encoding}")
    else:
        message = f"file names are {encoding}: others than these letters look strange"
        yield Finding("locale", "note", message, "export LC_ALL=C.UTF-8")


def environment(variables: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Variables that change what HDF5 does."""
    locking = variables.get("HDF5_USE_FILE_LOCKING")
    if locking is not None and locking.upper() not in {"TRUE", "1"}:
        message = f"HDF5_USE_FILE_LOCKING={locking}: readers here may open a store at work"
        yield Finding("environment", "note", message, "unset HDF5_USE_FILE_LOCKING")
    for directory in filter(None, variables.get("HDF5_PLUGIN_PATH", "").split(":")):
        if not Path(directory).is_dir():
            message = f"HDF5_PLUGIN_PATH names {directory}, which is not there"
            yield Finding("environment", "note", message, "unset HDF5_PLUGIN_PATH")


def limits() -> Iterator[Finding]:
    """What this process may take of the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        mend = f"ulimit -n {OPEN_FILES}" + ("" if hard >= OPEN_FILES else "  # as root")
        yield Finding("open files", "bites", f"only {soft} at a time", mend)
    else:
        yield Finding("open files", "ok", f"{soft:,} at a time")
    if os.geteuid() != 0:
        message = (
            "of files that programs of other users have open, only HDF5's marks and locks tell: "
            "this user may not see their descriptors"
        )
        yield Finding("writers", "note", message, "run the service as the user who writes the data")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _sysctl(name: str, value: int) -> str:
    setting = f"fs.inotify.{name}={value}"
    return f"echo {setting} | sudo tee -a /etc/sysctl.d/60-vh5d.conf && sudo sysctl {setting}"
