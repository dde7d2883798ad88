"""``vh5d status``: sources, their state and last version, failures, the queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command(name="status", short_help="Show what is watched, and how it goes.")
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR…]")
@click.option("--config", type=click.Path(path_type=Path), help="The service's configuration.")
@click.option("--state", type=click.Path(path_type=Path), help="The service's state directory.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    directories: tuple[Path, ...], config: Path | None, state: Path | None, as_json: bool
) -> None:
    """Show the sources of a service: where each stands, its last version, what went wrong.

    When the service does not run, shows what its stores hold.
    """
    from vh5d.service.report import find_service, report

    found = report(find_service(directories, config, state))
    click.echo(json.dumps(found) if as_json else _text(found))


def _text(found: dict[str, Any]) -> str:
    lines = [f"policy {each['name']}: {', '.join(each['watch'])}" for each in found["policies"]]
    lines.append("running" if found["running"] else "not running: start it with `vh5d up`")
    width = max((len(source["path"]) for source in found["sources"]), default=0)
    for source in found["sources"]:
        text = f"{source['path']:<{width}}  {source['state']:<10} {source['version'] or '-'}"
        lines.append(text + (f"  {source['error']}" if source["error"] else ""))
    if not found["sources"]:
        lines.append("no HDF5 files yet")
    if found["queue"]:
        lines.append(
            f"queue: {found['queue']['waiting']} waiting, {found['queue']['running']} at work"
        )
    return "\n".join(lines)
