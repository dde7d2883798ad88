"""``vh5d retry``: files that failed, put into the queue again."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.errors import UsageError


@click.command(short_help="Try again what failed or was given up.")
@click.argument("files", nargs=-1, type=PATH, metavar="[FILE…]")
@click.option("--all-failed", is_flag=True, help="All files that failed or were given up.")
@common
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], all_failed: bool) -> None:
    """Have a running service capture each FILE again, as if it never had failed.

    For files that were given up, once their cause is mended; others are tried again in any case,
    only later. The service is that of --config or of --state, or the one that watches FILE.
    """
    from redis import RedisError

    from vh5d.cli.group import complain
    from vh5d.cli.text import printable
    from vh5d.errors import BrokerError
    from vh5d.service.telling.report import running_service
    from vh5d.service.telling.retry import retry

    if bool(files) == all_failed:
        raise UsageError("no FILE is named", hint="name some, or say --all-failed")
    told = Told.of(ctx)
    paths = [os.path.abspath(file) for file in files]  # noqa: PTH100 - links are kept
    catalog = running_service((), told.config_file, told.state, below=paths)
    try:
        done = retry(catalog, None if all_failed else paths)
    except RedisError as error:
        raise BrokerError(f"the broker does not answer: {error}") from error
    for each in done:
        if told.json:
            print_json(each)
        elif each["refused"] is None:
            click.echo(f"{printable(each['path'])}: {each['before']}, is tried again{_why(each)}")
        else:
            complain(f"{each['path']}: {each['refused']}")
    if not done and not told.json:
        click.echo("nothing failed")
    if any(each["refused"] is not None for each in done):
        sys.exit(1)


def _why(each: dict[str, Any]) -> str:
    from vh5d.cli.text import printable

    return f" ({printable(each['error'])})" if each["error"] else ""
