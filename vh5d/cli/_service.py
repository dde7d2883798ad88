"""What the commands of the service have in common."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.cli.options import Told
    from vh5d.policy import Config, Reading
    from vh5d.service.running.notify import Notifier
    from vh5d.service.running.signals import StopRequests
    from vh5d.service.running.successor import Successor
    from vh5d.service.running.surroundings import Surroundings


def make_directories(directories: tuple[Path, ...], *, create: bool) -> None:
    """Refuse a directory that is not there, unless its making is agreed to.

    A mistyped name, or a share that is not mounted, must not become an empty directory that is
    watched in vain; somebody at a terminal can be asked.
    """
    for directory in directories:
        if directory.exists():
            continue
        if not create and sys.stdin.isatty() and sys.stdout.isatty():
            create = click.confirm(f"{directory} does not exist. Make it?", default=True)
        if not create:
            raise UsageError(f"{directory} does not exist", hint=f"make it: mkdir -p {directory}")
        try:
            directory.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"{directory} cannot be made: {error.strerror}") from error


def chosen_settings(told: Told, directories: tuple[Path, ...]) -> tuple[Config, Reading | None]:
    """Settings, and the file that they come from, or none: the defaults for some directories.

    Whoever started this process may have handed settings over: what was right when it looked.
    """
    from vh5d.policy import default_config, read
    from vh5d.service.running.handover import handed_over

    if told.config_file is not None and directories:
        raise UsageError("both a configuration and directories", hint="give one of them")
    if told.config_file is not None:
        reading = handed_over() or read(told.config_file.absolute())
        return reading.settings(), reading
    for directory in directories:
        if not directory.exists():
            raise UsageError(f"{directory} does not exist", hint=f"make it: mkdir -p {directory}")
    if not directories:
        raise UsageError("nothing to watch", hint="name a directory, or --config FILE")
    return default_config([directory.absolute() for directory in directories]), None


def chosen_broker(
    broker: str | None,
    config: Config,
    hint: str = "say --broker redis://HOST, or run `vh5d up`",
) -> str:
    """URL of the broker of a role that runs by itself."""
    from pydantic import TypeAdapter, ValidationError

    from vh5d.policy.fields import BROKER_EXPECTED, Broker

    url = broker or config.broker
    if url == "embedded":
        raise UsageError("one role alone needs a broker", hint=hint)
    try:
        TypeAdapter(Broker).validate_python(url)
    except ValidationError:
        # Without its cause, which tells parts of what may be a password.
        raise UsageError("this is no address of a broker", hint=BROKER_EXPECTED) from None
    return url


def chosen_config(told: Told, directories: tuple[Path, ...]) -> Config:
    """Settings from a file, or the defaults for some directories."""
    return chosen_settings(told, directories)[0]


def successor_of(
    reading: Reading | None, url: str, stop: StopRequests, notifier: Notifier
) -> Successor | None:
    """What is to take over from a role that runs by itself when its configuration changes."""
    if reading is None:
        return None
    from vh5d.service.catalog.address import connect
    from vh5d.service.running.successor import Successor
    from vh5d.service.telling.notices import Notices

    successor = Successor(reading, stop, Notices(connect(url)), notifier)
    successor.start()
    return successor


def begin_role(told: Told, parent: int | None) -> None:
    """Logging to standard error; an end when the parent, if any, ends."""
    from vh5d.service.running import logs
    from vh5d.service.running.process import die_with_parent

    def write(line: str) -> None:
        # One write, so that lines of several processes do not mix.
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    logs.configure(write, "json" if told.json else "text", level=10 if parent is not None else 20)
    if parent is not None:
        # Not SIGTERM: without its broker a worker may never come to an end. What it was about to
        # commit is undone or redone by whoever opens the store next.
        die_with_parent(parent, signal.SIGKILL)


def surroundings_of(ctx: click.Context) -> Surroundings:
    """Where this process runs: as whoever called the program says, or on this machine."""
    from vh5d.service.running.surroundings import HERE, Surroundings

    return ctx.find_object(Surroundings) or HERE
