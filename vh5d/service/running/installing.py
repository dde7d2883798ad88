"""Units on the disk: written, found edited, removed; and what the service manager is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from vh5d.errors import ServiceError, TargetExistsError
from vh5d.service.running.units import DROP_IN, UNITS

SYSTEM_DIRECTORY = Path("/etc/systemd/system")
#: Seconds that a command of the service manager may take: it waits until the service is ready.
SYSTEMCTL_TIMEOUT = 330.0
_SEAL = "# vh5d install-service wrote this: "

Action = Literal["write", "renew", "keep", "replace", "remove"]


@dataclass(frozen=True)
class Step:
    """What happens to one file.

    Parameters
    ----------
    action
        `replace` and `remove` of one that somebody edited keep it beside, as `*.edited`.
    edited
        Whether somebody changed it since it was written, or it is somebody else's.
    """

    path: Path
    action: Action
    text: str = ""
    edited: bool = False


def user_directory() -> Path:
    """Where a user's units are (systemd.unit(5))."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(home, "systemd", "user")


def sealed(text: str) -> str:
    """Return a text with a last line that shows whether it was edited."""
    return f"{text}{_SEAL}{_digest(text)}\n"


def is_edited(path: Path) -> bool:
    """Whether a file is not as `sealed` made it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    body, found, digest = text.rpartition(_SEAL)
    return not found or digest != f"{_digest(body)}\n"


def plan(files: Mapping[Path, str]) -> list[Step]:
    """Return what has to be done so that `files` are there."""
    steps = []
    for path, body in files.items():
        text = sealed(body)
        if not path.exists():
            steps.append(Step(path, "write", text))
        elif path.read_text(encoding="utf-8", errors="replace") == text:
            steps.append(Step(path, "keep", text))
        elif is_edited(path):
            steps.append(Step(path, "replace", text, edited=True))
        else:
            steps.append(Step(path, "renew", text))
    return steps


def plan_removal(directory: Path) -> list[Step]:
    """Return what has to be done so that nothing of ours is left in `directory`."""
    places = [place for unit in UNITS for place in places_of(directory, unit)]
    return [Step(path, "remove", edited=is_edited(path)) for path in places if path.exists()]


def places_of(directory: Path, unit: str) -> tuple[Path, Path]:
    """Where a unit and its drop-in are."""
    return directory / unit, directory / f"{unit}.d" / DROP_IN


def refuse_edited(steps: Sequence[Step], *, force: bool) -> None:
    """See that nobody's changes are lost unless `force` says so.

    Raises
    ------
    TargetExistsError
        Somebody edited one of the files.
    """
    edited = [str(step.path) for step in steps if step.edited]
    if edited and not force:
        raise TargetExistsError(
            f"{', '.join(edited)}: edited by somebody, and left as it is",
            hint="put your changes into a drop-in (`systemctl edit`), then say --force: "
            "what is there is kept beside, as *.edited",
        )


def carry_out(steps: Sequence[Step], *, force: bool) -> None:
    """Do it, all or, if something was edited and `force` does not say so, nothing.

    Raises
    ------
    TargetExistsError
        Somebody edited one of the files.
    ServiceError
        A file cannot be written.
    """
    refuse_edited(steps, force=force)
    for step in steps:
        try:
            _carry_out(step)
        except OSError as error:
            raise ServiceError(
                f"{error.filename or step.path}: {error.strerror}",
                hint="say --user for a service of your own, or run it with sudo",
            ) from error


def _carry_out(step: Step) -> None:
    if step.edited:
        shutil.copy2(step.path, step.path.with_name(f"{step.path.name}.edited"))
    if step.action == "remove":
        step.path.unlink()
        if step.path.parent.name.endswith(".d") and not any(step.path.parent.iterdir()):
            step.path.parent.rmdir()
    elif step.action != "keep":
        step.path.parent.mkdir(parents=True, exist_ok=True)
        new = step.path.with_name(f".{step.path.name}.new")
        new.write_text(step.text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(step.path)


def manager_answers(*, user: bool) -> bool:
    """Whether there is a service manager to be told."""
    command = [*_systemctl(user=user), "show", "--property=Version"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10.0, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def commands(
    units: Sequence[str], *, user: bool, enable: bool, changed: bool = False
) -> list[list[str]]:
    """Return the commands that make the service manager follow.

    Parameters
    ----------
    enable
        Whether `units` are to run from now on; else they are stopped first.
    changed
        Whether one that runs now has to begin anew.
    """
    systemctl = _systemctl(user=user)
    reload = [*systemctl, "daemon-reload"]
    if enable:
        restart = [[*systemctl, "try-restart", *units]] if changed else []
        return [reload, *restart, [*systemctl, "enable", "--now", *units]]
    return [[*systemctl, "disable", "--now", *units], reload]


def tell(command: Sequence[str]) -> None:
    """Run a command of `commands`.

    Raises
    ------
    ServiceError
        It fails.
    """
    done = subprocess.run(
        list(command), capture_output=True, text=True, timeout=SYSTEMCTL_TIMEOUT, check=False
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ServiceError(
            f"{' '.join(command)}: {said}", hint="`journalctl -e` says more; the files are written"
        )


def _systemctl(*, user: bool) -> list[str]:
    return ["systemctl", *(["--user"] if user else [])]


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
