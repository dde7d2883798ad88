"""``vh5d status``: how each policy does, what went wrong, where the files stand."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vh5d.cli.options import DIRECTORY, Told, common, print_json


@click.command(short_help="Show what is watched, and how it goes.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@click.option("--all", "everything", is_flag=True, help="List all files, however many.")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often, with --watch.",
)
@common
@click.pass_context
def command(
    ctx: click.Context,
    directories: tuple[Path, ...],
    everything: bool,
    watch: bool,
    interval: float,
) -> None:
    """Show how a service is doing: each policy, what failed and when it is tried again, the files.

    The service is that of DIR, of --config or of --state; without any, the one that runs. When it
    does not run, shows what its stores hold. Of many files, those that need attention and the
    last that changed are listed.
    """
    from vh5d.cli import status_text
    from vh5d.service.telling.report import find_service, report

    told = Told.of(ctx)

    def look() -> dict[str, Any]:
        service = find_service(directories, told.config_file, told.state)
        return report(service, everything=everything or (told.json and not watch))

    if watch:
        _watch(look, status_text.text, interval, json=told.json)
    elif told.json:
        print_json(look())
    else:
        click.echo(status_text.text(look()))


def _watch(
    look: Callable[[], dict[str, Any]],
    text: Callable[[dict[str, Any]], str],
    interval: float,
    *,
    json: bool,
) -> None:
    import sys

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    try:
        if json or not sys.stdout.isatty():
            while True:
                found = look()
                print_json(found) if json else click.echo(text(found) + "\n")
                time.sleep(interval)
        with Live(console=Console(), screen=True, auto_refresh=False) as live:
            while True:
                lines = Text.from_ansi(text(look()), no_wrap=True, overflow="ellipsis")
                live.update(lines, refresh=True)
                time.sleep(interval)
    except KeyboardInterrupt:
        return
