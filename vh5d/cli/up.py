"""``vh5d up``: the whole service in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vh5d.cli.options import DIRECTORY, Told, common
from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.service.telling.live import View

Style = Literal["live", "text", "json"]


@click.command(short_help="Watch directories and keep every version.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@click.option("--create", is_flag=True, help="Make a DIR that does not exist.")
@click.option(
    "--log-format",
    type=click.Choice(["live", "text", "json"]),
    help="A live view (default on a terminal), log lines, or JSON objects (--json).",
)
@click.option(
    "--stop-timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for captures when asked to stop.",
)
@common
@click.pass_context
def command(
    ctx: click.Context,
    directories: tuple[Path, ...],
    create: bool,
    log_format: Style | None,
    stop_timeout: float,
) -> None:
    """Watch each DIR and keep a version of every HDF5 file in it whenever it was changed.

    Versions go to DIR/.vh5d; `vh5d log FILE` lists them. Runs until Ctrl-C or SIGTERM.
    """
    from vh5d.cli._service import chosen_settings, make_directories, surroundings_of
    from vh5d.service.running.signals import StopRequests
    from vh5d.service.running.supervisor import Plan, Supervisor

    told = Told.of(ctx)
    if told.config_file is None and not directories:
        raise UsageError("nothing to watch", hint="name a directory: vh5d up DIR")
    make_directories(directories, create=create)
    stop = StopRequests(reloads=told.config_file is not None)
    stop.install()
    config, reading = chosen_settings(told, directories)
    plan = Plan(
        config=config,
        reading=reading,
        directories=directories,
        state=told.state,
        stop_timeout=stop_timeout,
        surroundings=surroundings_of(ctx),
    )
    Supervisor(plan, _view("json" if told.json else log_format), stop).run()


def _view(style: Style | None) -> View:
    from vh5d.service.telling.live import LineView, LiveView

    if style == "live" or (style is None and sys.stdout.isatty()):
        return LiveView()
    return LineView("json" if style == "json" else "text")
