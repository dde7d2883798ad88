"""The units of systemd, made from those in `systemd/`: for this program, these paths, this user."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import vh5d
from vh5d.errors import ServiceError
from vh5d.policy import Config
from vh5d.policy.places import store_places

#: What a unit is named for the whole service, the roles, and the check of stores.
ALL_IN_ONE = "vh5d.service"
WATCH, WORKER, TARGET = "vh5d-watch.service", "vh5d-worker@.service", "vh5d.target"
VERIFY, TIMER = "vh5d-verify.service", "vh5d-verify.timer"
UNITS = (ALL_IN_ONE, WATCH, WORKER, TARGET, VERIFY, TIMER)
DROP_IN = "vh5d-paths.conf"

#: What a user's service manager refuses, or has no right to (systemd.exec(5)): most of it needs
#: a mount namespace.
_NOT_FOR_USERS = re.compile(
    r"(User|Group|StateDirectory|StateDirectoryMode|Environment|EnvironmentFile|Private\w+"
    r"|ProtectSystem|ProtectHome|ProtectClock|ProtectControlGroups|ProtectHostname"
    r"|ProtectKernel\w+|ProtectProc|DevicePolicy|RemoveIPC|CapabilityBoundingSet"
    r"|AmbientCapabilities|KeyringMode)=|(After|Wants)=(?!vh5d)"
)
_PLAIN = re.compile(r"[A-Za-z0-9_@/.,:=+-]+")
#: Directories that ProtectHome=yes empties (systemd.exec(5)).
_HOMES = ("/home", "/root", "/run/user")


@dataclass(frozen=True)
class Job:
    """What the units are to run.

    Parameters
    ----------
    program
        How vh5d is started.
    arguments
        What to watch: `--config FILE`, or directories.
    config
        The settings that they lead to.
    user
        Who runs it; None: the user whose service manager it is.
    """

    program: Sequence[str]
    arguments: Sequence[str]
    config: Config
    user: str | None = None


def this_program() -> list[str]:
    """How the vh5d that runs now is started."""
    script = Path(sys.executable).with_name("vh5d")
    if os.access(script, os.X_OK):
        return [str(script)]
    package = Path(vh5d.__file__).parent.parent
    if package.name == "site-packages":
        return [sys.executable, "-P", "-m", "vh5d"]
    return ["/usr/bin/env", f"PYTHONPATH={package}", sys.executable, "-P", "-m", "vh5d"]


def units_for(config: Config) -> list[str]:
    """Which units a configuration needs: with a private broker all in one, else the roles."""
    roles = [ALL_IN_ONE] if config.broker == "embedded" else [WATCH, WORKER, TARGET]
    return [*roles, VERIFY, TIMER]


def to_enable(units: Sequence[str], workers: int) -> list[str]:
    """What of some units is to be started with the machine.

    Parameters
    ----------
    workers
        How many of them, where they are units of their own.
    """
    instances = [WORKER.replace("@", f"@{number}") for number in range(1, workers + 1)]
    names = {TARGET: [TARGET], WATCH: [WATCH], WORKER: instances, VERIFY: []}
    return [name for unit in units for name in names.get(unit, [unit])]


def render(unit: str, job: Job) -> str:
    """Return the text of a unit.

    Raises
    ------
    ServiceError
        The units are not where they were installed.
    """
    template = directory_of_units() / unit
    try:
        text = template.read_text(encoding="utf-8")
    except OSError as error:
        raise ServiceError(f"{template}: {error.strerror}", hint="install vh5d again") from error
    if unit == VERIFY and "--config" not in job.arguments:
        stores = [str(each) for policy in job.config.policies for each in store_places(policy)]
        text = re.sub(r"(?<=verify) --config \S+", " " + _joined(stores), text)
    text = text.replace("/usr/bin/env vh5d", _joined(job.program), 1)
    if "--config" not in job.arguments:  # SIGHUP would end it
        text = _without(text, re.compile("ExecReload="))
    text = text.replace("--config /etc/vh5d/vh5d.yaml", _joined(job.arguments), 1)
    if job.user is not None:
        return text.replace("User=vh5d", f"User={job.user}").replace("Group=vh5d\n", "")
    text = text.replace(" --state %S/vh5d", "").replace("multi-user.target", "default.target")
    return _without(text, _NOT_FOR_USERS)


def drop_in(unit: str, job: Job) -> str | None:
    """Return what a unit of the machine's has to be told of paths; None: nothing."""
    if job.user is None or not unit.endswith(".service"):
        return None
    places = {each for policy in job.config.policies for each in store_places(policy)}
    roots = {root for policy in job.config.policies for root in policy.roots}
    # `.vh5d` in a watched directory is made when the first version is.
    nests = {root for root in roots if any(place.is_relative_to(root) for place in places)}
    written = nests if unit == WATCH else nests | {p for p in places if not _below(p, nests)}
    lines = ["[Service]"]
    lines += [f"ReadWritePaths={_joined(['-' + str(path)])}" for path in sorted(written)]
    # The last argument of /usr/bin/env is not where the program is, so all of them are looked at.
    needed = [*roots, *places, *(Path(each) for each in (*job.program, *job.arguments))]
    if any(path.is_relative_to(home) for path in needed for home in _HOMES):
        lines.append("ProtectHome=read-only")
    return "\n".join(
        [
            "# Where this service may write: the stores, and, where they are in the watched",
            "# directory, that. Made from the configuration by `vh5d install-service`: run that",
            "# again after `watch` or `store` changed.",
            *lines,
            "",
        ]
    )


def directory_of_units() -> Path:
    """Where the units are that this module starts from: in the wheel, or in the checkout."""
    package = Path(vh5d.__file__).parent
    inside = package / "systemd"
    return inside if inside.is_dir() else package.parent / "systemd"


def quoted(argument: str) -> str:
    """Return an argument as a unit has it (systemd.service(5), "Command lines")."""
    text = argument.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _joined(arguments: Iterable[str]) -> str:
    return " ".join(map(quoted, arguments))


def _below(path: Path, directories: Iterable[Path]) -> bool:
    return any(path.is_relative_to(directory) for directory in directories)


def _without(text: str, dropped: re.Pattern[str]) -> str:
    """Drop settings, and the comments that stand right before them."""
    kept: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line)
            continue
        if not dropped.match(line):
            kept += [*comment, line]
        comment = []
    text = "\n".join([*kept, *comment, ""])
    return re.sub(r"\n{3,}", "\n\n", text)
