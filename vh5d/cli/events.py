"""``vh5d events``: what the service did, and does."""

from __future__ import annotations

import os
import time
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import click

from vh5d.cli.options import DIRECTORY, PATH, Told, common, print_json
from vh5d.errors import UsageError

#: What is not said again of an event in words.
_FRAME = {
    "id",
    "at",
    "event",
    "host",
    "path",
    "policy",
    "capture",
    "state",
    "store",
    "root_inode",
    "size",
}


@click.command(short_help="Show what the service did, and does.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@click.option("--follow", "-f", is_flag=True, help="Go on as it happens, until Ctrl-C.")
@click.option("--since", metavar="DURATION", help="Of the last 30m, 1h, 2d…")
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    metavar="N",
    help="The last so many, without --since.",
)
@click.option("--file", "files", multiple=True, type=PATH, metavar="FILE", help="Only of this.")
@common
@click.pass_context
def command(
    ctx: click.Context,
    directories: tuple[Path, ...],
    follow: bool,
    since: str | None,
    count: int,
    files: tuple[str, ...],
) -> None:
    """Show what happened to files: captured, postponed, failed, renamed, missing and more.

    The service is that of DIR, of --config or of --state; without any, the one that runs. Some
    ten thousand events are remembered.
    """
    from redis import RedisError

    from vh5d.errors import BrokerError
    from vh5d.service.telling import events
    from vh5d.service.telling.report import running_service

    told = Told.of(ctx)
    catalog = running_service(directories, told.config_file, told.state)
    # Links are kept: the file is known by this name.
    wanted = {catalog.shared(os.path.abspath(file)) for file in files}  # noqa: PTH100

    def meant(event: dict[str, Any]) -> bool:
        return not wanted or event.get("path") in wanted or event.get("to") in wanted

    try:
        start = events.end(catalog.client)
        if since is not None:
            found: Any = events.since(catalog.client, _seconds(since))
        else:
            found = events.last(catalog.client, count, meant)
        found = list(found)
    except RedisError as error:
        raise BrokerError(f"the broker does not answer: {error}") from error
    if found:
        start = max(start, found[-1]["id"], key=_order)
    coming = events.follow(catalog.client, start, time.sleep) if follow else ()
    try:
        for event in chain(found, coming):
            if meant(event):
                print_json(event) if told.json else click.echo(_line(event))
    except KeyboardInterrupt:
        return


def _order(identifier: str) -> tuple[int, ...]:
    return tuple(map(int, identifier.split("-")))


def _seconds(text: str) -> float:
    from vh5d.policy.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--since {text}: {error}", hint="say e.g. 30m, 1h or 2d") from error


def _line(event: dict[str, Any]) -> str:
    from vh5d.cli.text import one_line
    from vh5d.policy.units import format_size

    at = datetime.fromisoformat(event["at"]).astimezone()
    words = [f"{at:%Y-%m-%d %H:%M:%S}", f"{event['event']:<10}", event.get("path") or "-"]
    rest = {key: value for key, value in event.items() if key not in _FRAME and value is not None}
    if event["event"] == "captured":
        rest = {key: rest[key] for key in ("version", "error") if key in rest}
        if event.get("changed"):
            words += [rest.pop("version", ""), f"+{format_size(event.get('bytes_added') or 0)}"]
        else:
            words.append("unchanged")
    if "next_try" in rest:
        again = datetime.fromisoformat(rest.pop("next_try")).astimezone()
        words += [f"{rest.pop('error', '')};", f"next try at {again:%H:%M:%S}"]
    words += [f"{key}={value}" if key != "error" else f"({value})" for key, value in rest.items()]
    return one_line(" ".join(words))
