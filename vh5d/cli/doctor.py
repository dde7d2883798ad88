"""``vh5d doctor``: what on this machine will bite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vh5d.cli.group import FAILED
from vh5d.cli.options import DIRECTORY, Told, common, print_json
from vh5d.cli.text import counted, one_line

if TYPE_CHECKING:
    from vh5d.service.telling.doctor.finding import Finding

_COLOURS = {"ok": "green", "note": "yellow", "bites": "red"}


@click.command(short_help="Find what on this machine will bite.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@common
@click.pass_context
def command(ctx: click.Context, directories: tuple[Path, ...]) -> None:
    """Look for what will bite a service here, and say what mends it.

    Limits of inotify, kinds of file systems, locks, room, rights, the broker, clocks, plugins: for
    a service that watches DIR or has --config; without either, for this machine alone. Run it as
    the user of the service. The exit status is 1 when something will bite.
    """
    findings = []
    told = Told.of(ctx)
    for finding in _findings(directories, told):
        findings.append(finding)
        if not told.json:
            click.echo(_line(finding))
    bites = [finding for finding in findings if finding.level == "bites"]
    if told.json:
        print_json({"ok": not bites, "findings": [vars(finding) for finding in findings]})
    elif bites:
        click.echo(f"{counted(len(bites), 'thing')} will bite")
    else:
        click.echo("nothing will bite")
    if bites:
        ctx.exit(FAILED)


def _findings(directories: tuple[Path, ...], told: Told) -> Iterator[Finding]:
    from vh5d.policy import default_config
    from vh5d.service.running.state import description_of, directory_for, is_running
    from vh5d.service.telling.doctor.examination import examine

    config = told.config()
    if config is None and directories:
        config = default_config([directory.absolute() for directory in directories])
    if config is None:
        return examine(None, file=None, state=None, broker=None)
    if config.broker != "embedded":
        return examine(config, file=told.config_file, state=None, broker=config.broker)
    state = told.state or config.state or directory_for(config.policies[0].roots[0])
    description = description_of(state)
    running = description is not None and is_running(state)
    broker = description.broker if description is not None and running else None
    return examine(config, file=told.config_file, state=state, broker=broker)


def _line(finding: Finding) -> str:
    level = click.style(f"{finding.level:<5}", fg=_COLOURS[finding.level])
    line = f"{level}  {one_line(finding.check)}: {one_line(finding.message)}"
    return f"{line}\n       mend: {finding.mend}" if finding.mend else line
