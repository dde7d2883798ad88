"""The state directory: where a running service keeps its queue, socket and lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vh5d.errors import AlreadyRunningError, ServiceError

_DESCRIPTION = "service.json"


def base_directory() -> Path:
    """Where state directories are, unless one is given (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(home, "vh5d")


def directory_for(root: Path) -> Path:
    """The state directory of a service whose first watched directory is `root`."""
    real = os.path.realpath(root)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(real).name).strip(".-") or "root"
    digest = blake2b(os.fsencode(real), digest_size=4).hexdigest()
    return base_directory() / f"{readable[:40]}-{digest}"


@dataclass(frozen=True)
class Description:
    """What a service says of itself to those who look for it.

    `settings` are those in force, without secrets: its file may say something else by now.
    """

    pid: int
    broker: str
    watch: list[str]
    config: str | None
    started: float
    settings: dict[str, Any] | None = None


class Held:
    """A lock on a file, until `release`; it is the kernel's, so it ends with the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another instance begin."""
        os.close(self._descriptor)


def hold(path: Path, what: str, *, hint: str = "choose another place with --state DIR") -> Held:
    """Lock `path`, and write our process id into it.

    Parameters
    ----------
    what
        What another instance has, for the message.
    hint
        What to do when the file cannot be made.

    Raises
    ------
    AlreadyRunningError
        Another process has it.
    ServiceError
        The file cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}", hint=hint) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise AlreadyRunningError(
            f"{what} by another vh5d" + (f" (process {pid})" if pid else ""),
            hint=f"stop it first: kill {pid}" if pid else "stop it first",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return Held(path, descriptor)


def root_lock(root: Path, *, beside_stores: bool) -> Path:
    """The lock that keeps two services from one watched directory.

    Parameters
    ----------
    beside_stores
        The stores lie below the root: then the lock does, too, and is seen by whoever shares it.
    """
    if beside_stores:
        return root / ".vh5d" / ".watching"
    digest = blake2b(os.fsencode(os.path.realpath(root)), digest_size=8).hexdigest()
    return base_directory() / "locks" / digest


def describe(state: Path, description: Description) -> None:
    """Leave a note for `vh5d status`."""
    new = state / f"{_DESCRIPTION}.new"
    new.unlink(missing_ok=True)
    # The broker's address may hold a password.
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(asdict(description)))
    new.replace(state / _DESCRIPTION)


def description_of(state: Path) -> Description | None:
    """The note in a state directory, if there is one."""
    try:
        return Description(**json.loads((state / _DESCRIPTION).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_running(state: Path) -> bool:
    """Whether a service has this state directory now."""
    try:
        descriptor = os.open(state / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def private_directory(directory: Path) -> None:
    """Make a directory that is this user's alone, or see that it is.

    Raises
    ------
    ServiceError
        It belongs to somebody else, others may enter it, or it cannot be made.
    """
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True)
        found = directory.lstat()
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if mine and stat.S_IMODE(found.st_mode) & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise ServiceError(f"{directory}: {error.strerror}") from error
    if not mine:
        raise ServiceError(
            f"{directory} is not a directory of this user", hint="remove it, or say --state DIR"
        )


def known_states() -> list[Path]:
    """State directories where they are by default."""
    return sorted(path.parent for path in base_directory().glob(f"*/{_DESCRIPTION}"))
