"""``vh5d status``: sources, their state and last version, failures, the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vh5d.cli.options import Told, common, print_json
from vh5d.cli.text import counted, printable, table


@click.command(short_help="Show what is watched, and how it goes.")
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR…]")
@common
@click.pass_context
def command(ctx: click.Context, directories: tuple[Path, ...]) -> None:
    """Show the sources of a service: where each stands, its last version, what went wrong.

    The service is that of DIR, of --config or of --state; without any, the one that runs. When it
    does not run, shows what its stores hold.
    """
    from vh5d.service.report import find_service, report

    told = Told.of(ctx)
    found = report(find_service(directories, told.config_file, told.state))
    if told.json:
        print_json(found)
    else:
        click.echo(_text(found))


def _text(found: dict[str, Any]) -> str:
    lines = [f"policy {each['name']}: {', '.join(each['watch'])}" for each in found["policies"]]
    hosts = {each["host"] for each in found["roots"]}
    for root in found["roots"]:
        where = f" on {root['host']}" if len(hosts) > 1 else ""
        why = f" ({root['reason']})" if root["reason"] else ""
        lines.append(f"{printable(root['path'])}{where}: {root['health']}{printable(why)}")
    if not found["running"]:
        lines.append("not running (`vh5d up` starts it); this is what the stores hold")
    elif not found["queue"]:
        lines.append(f"the broker {found['broker']}; this is what the stores hold")
    rows = [
        (printable(each["path"]), each["state"], each["version"] or "-", each["error"] or "")
        for each in found["sources"]
    ]
    lines.append(table(("file", "state", "version", ""), rows) if rows else "no HDF5 files yet")
    if found["queue"]:
        queue = found["queue"]
        lines.append(
            f"{counted(len(rows), 'file')}, {queue['waiting']} waiting, {queue['running']} at work"
        )
    return "\n".join(lines)
