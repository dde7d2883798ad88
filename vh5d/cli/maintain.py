"""``vh5d maintain``: one round of the nightly maintenance, now."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vh5d.cli.group import FAILED
from vh5d.cli.options import DIRECTORY, Told, common, print_json
from vh5d.cli.text import counted
from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.policy import Policy
    from vh5d.service.stores.upkeep import Record

#: Less than what captures have.
NICENESS = 10


@click.command(short_help="Thin the stores of policies now, as each night.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@click.option(
    "--broker",
    metavar="URL",
    envvar="VH5D_BROKER",
    help="The queue, instead of the configuration's; with a password, say it in VH5D_BROKER.",
)
@click.option("--policy", "names", multiple=True, metavar="NAME", help="Only this policy's.")
@click.option("--due", is_flag=True, hidden=True, help="For the last night, and only what it asks.")
@click.option("--parent", type=int, hidden=True)
@common
@click.pass_context
def command(
    ctx: click.Context,
    directories: tuple[Path, ...],
    broker: str | None,
    names: tuple[str, ...],
    due: bool,
    parent: int | None,
) -> None:
    """Drop what the retention of each policy does not keep, and record it in the catalog.

    Workers do so each night, one of them for all; this is for `maintenance: off` and a timer of
    your own. It wants a service that runs; without one, `vh5d prune --by-policy` does the same.
    """
    from vh5d.cli._service import begin_role, chosen_broker, chosen_settings, surroundings_of
    from vh5d.service.catalog.address import connect
    from vh5d.service.catalog.catalog import Catalog
    from vh5d.service.running.signals import StopRequests
    from vh5d.service.stores.maintenance import Round
    from vh5d.service.stores.upkeep import last_night
    from vh5d.service.telling.report import find_service

    told = Told.of(ctx)
    begin_role(told, parent)
    stop = StopRequests()
    stop.install()
    with suppress(OSError):  # a sandbox may forbid it
        os.nice(NICENESS)
    named = bool(directories) or told.config_file is not None
    settings = chosen_settings(told, directories)[0] if named or broker is not None else None
    if settings is None or (broker is None and settings.broker == "embedded"):
        service = find_service(directories, told.config_file, told.state)
        broker, settings = service.broker, service.config
    without = "start the service, or do without: vh5d prune --by-policy --config FILE"
    catalog = Catalog(connect(chosen_broker(broker, settings, without)))
    policies = _chosen(settings.policies, names)
    if not policies and not told.json and parent is None:
        click.echo("no policy has a `retention`: every version stays")
    present = surroundings_of(ctx).present
    work = Round(catalog, present, settings.policies, halted=stop.is_set)
    failed = False
    for policy in policies:
        night = None
        if due and settings.maintenance is not None:
            night = last_night(settings.maintenance, present())
        if due and not work.upkeep.record(policy.name).wants_round(night, catalog.now()):
            continue  # somebody was faster
        record = work.run(policy, night)
        failed = failed or (record is not None and (record.failed > 0 or not record.finished))
        if parent is None:
            _show(policy.name, record, json=told.json)
    if failed and parent is None:
        ctx.exit(FAILED)


def _chosen(policies: tuple[Policy, ...], names: tuple[str, ...]) -> list[Policy]:
    known = {policy.name for policy in policies}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no policy {name!r}", hint=f"there are {', '.join(known)}")
    chosen = [each for each in policies if not names or each.name in names]
    return [each for each in chosen if each.retention is not None]


def _show(policy: str, record: Record | None, *, json: bool) -> None:
    from vh5d.policy.units import format_size

    if json:
        print_json({"policy": policy, "round": None if record is None else asdict(record)})
    elif record is None:
        click.echo(f"{policy}: somebody else is at it, or its stores are not on this host")
    else:
        click.echo(
            f"{policy}: {counted(record.stores, 'store')}, "
            f"{counted(record.dropped, 'version')} dropped, "
            f"{format_size(max(0, record.bytes_returned))} came back"
        )
