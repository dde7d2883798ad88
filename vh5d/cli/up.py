"""``vh5d up``: the whole service in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.service.live import View


@click.command(name="up", short_help="Watch directories and keep every version.")
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR…]")
@click.option("--config", type=click.Path(path_type=Path), help="Policies, instead of DIR.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="Where to keep the queue, socket and lock."
)
@click.option("--create", is_flag=True, help="Make a DIR that does not exist.")
@click.option(
    "--log-format",
    type=click.Choice(["live", "text", "json"]),
    help="A live view (default on a terminal), log lines, or one JSON object a line.",
)
@click.option(
    "--stop-timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for captures when asked to stop.",
)
def command(
    directories: tuple[Path, ...],
    config: Path | None,
    state: Path | None,
    create: bool,
    log_format: Literal["live", "text", "json"] | None,
    stop_timeout: float,
) -> None:
    """Watch each DIR and keep a version of every HDF5 file in it whenever it was changed.

    Versions go to DIR/.vh5d; `vh5d log FILE` lists them. Runs until Ctrl-C or SIGTERM.
    """
    from vh5d.cli._service import chosen_config, make_directories
    from vh5d.service.signals import StopRequests
    from vh5d.service.supervisor import Plan, Supervisor

    if config is None and not directories:
        raise UsageError("nothing to watch", hint="name a directory: vh5d up DIR")
    make_directories(directories, create=create)
    settings = chosen_config(config, directories)
    stop = StopRequests()
    stop.install()
    plan = Plan(settings, config and config.absolute(), directories, state, stop_timeout)
    Supervisor(plan, _view(log_format), stop).run()


def _view(style: Literal["live", "text", "json"] | None) -> View:
    from vh5d.service.live import LineView, LiveView

    if style == "live" or (style is None and sys.stdout.isatty()):
        return LiveView()
    return LineView("json" if style == "json" else "text")
