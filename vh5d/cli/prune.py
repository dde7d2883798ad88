"""``vh5d prune``: drops versions, and gives back the space of what only they had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli._rules import (
    Thinning,
    as_count,
    as_zone,
    more_by_compact,
    plan_by_policy,
    plan_by_rules,
    rules_of,
)
from vh5d.cli.completing import version_names
from vh5d.cli.confirm import confirm
from vh5d.cli.group import FAILED, complain
from vh5d.cli.locate import locate
from vh5d.cli.opening import opened
from vh5d.cli.options import PATH, Function, Told, VersionCommand, common, print_json
from vh5d.cli.progress import progress
from vh5d.cli.text import counted, duration, printable
from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.store.prune import PruneResult

SHOWN = 6


_RULES = {
    "last": "newest so many",
    "hourly": "newest of each of so many hours",
    "daily": "newest of each of so many days",
    "weekly": "newest of each of so many weeks",
    "monthly": "newest of each of so many months",
    "yearly": "newest of each of so many years",
}


def _keep_options(function: Function) -> Function:
    """Add an option for each rule of retention."""
    for name, what in reversed(_RULES.items()):
        option = click.option(
            f"--keep-{name}", callback=as_count, metavar="N", help=f"Keep the {what}."
        )
        function = option(function)
    within = "Keep all that are less than this older than the newest: 48h, 30d, 3mo, 1y."
    return click.option("--keep-within", metavar="PERIOD", help=within)(function)


@click.command(cls=VersionCommand, short_help="Drop versions, and give back their space.")
@click.argument("file", type=PATH, required=False)
@click.argument("versions", nargs=-1, metavar="[VERSION…]", shell_complete=version_names)
@click.option("--by-policy", is_flag=True, help="Drop what the policies of --config do not keep.")
@_keep_options
@click.option("--tagged", is_flag=True, help="Drop versions that have a tag, too.")
@click.option(
    "--time-zone",
    "zone",
    callback=as_zone,
    metavar="ZONE",
    help="Where days begin (default: here).",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be dropped and come back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    file: str | None,
    versions: tuple[str, ...],
    by_policy: bool,
    tagged: bool,
    dry_run: bool,
    yes: bool,
    **others: Any,
) -> None:
    """Drop each VERSION of FILE, and give back the space of what no other version has.

    One version always stays. FILE itself is not touched. Without a VERSION, space comes back that
    an interruption left.

    With --keep-… or --by-policy, every argument is a FILE or a directory, and what goes is what
    no rule keeps. The rules are those of restic; versions that have a tag stay. --by-policy
    without a FILE means all stores of --config.
    """
    told = Told.of(ctx)
    zone, store = others.pop("zone"), others.pop("store")
    given = {name: value for name, value in others.items() if value is not None}
    if not (given or by_policy):
        if file is None:
            raise UsageError("nothing to prune", hint="name a FILE, or --by-policy --config FILE")
        _drop_named(file, versions, told, store, tagged=tagged, dry_run=dry_run, yes=yes)
        return
    if given and by_policy:
        raise UsageError("both --keep-… and --by-policy", hint="say one of them")
    files = versions if file is None else (file, *versions)
    if store is not None and len(files) != 1:
        raise UsageError("--store without one FILE", hint="prune them one at a time")
    if by_policy:
        plan = plan_by_policy(files, store, told, tagged=tagged)
    elif not files:
        raise UsageError("nothing to prune", hint="name a FILE, or a directory")
    else:
        rules = rules_of({**given, "keep_tagged": not tagged})
        plan = plan_by_rules(files, store, told, rules)
    if not Thinning(plan, told, zone).run(dry_run=dry_run, yes=yes):
        ctx.exit(FAILED)


def _drop_named(
    file: str,
    versions: tuple[str, ...],
    told: Told,
    store: str | None,
    *,
    tagged: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    from vh5d.store.prune import prune

    found = locate(file, store, told).store
    with opened(found) as reader:
        names = {reader.resolve(spec).name for spec in versions}
    if names and not dry_run:
        confirm(lambda: _question(prune(found, names, tagged=tagged, dry_run=True)), yes=yes)
    with progress(found.name) as show:
        result = prune(found, names, tagged=tagged, dry_run=dry_run, progress=show.begun)
    if told.json:
        print_json(_as_json(result))
        return
    click.echo(_as_text(result))
    if result.hint is not None:
        complain(f"{found}: {result.hint}")


def _question(foreseen: PruneResult) -> str:
    from vh5d.policy.units import format_size

    return (
        f"Drop {_names(foreseen)} of {printable(foreseen.store)}? "
        f"{counted(len(foreseen.kept), 'version')} would stay, "
        f"{format_size(max(0, foreseen.bytes_returned))} come back"
    )


def _names(result: PruneResult) -> str:
    if not result.dropped:
        return "nothing"
    shown = ", ".join(map(printable, result.dropped[:SHOWN]))
    more = len(result.dropped) - SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _as_text(result: PruneResult) -> str:
    from vh5d.policy.units import format_size

    size = format_size(max(0, result.bytes_returned))
    kept = counted(len(result.kept), "version")
    name = printable(Path(result.store))
    if result.dry_run:
        more = more_by_compact(result)
        return f"{name}: would drop {_names(result)}; {kept} would stay, {size} come back{more}"
    return (
        f"{name}: dropped {click.style(_names(result), bold=True)}; {kept} left, "
        f"{size} came back, in {duration(result.seconds)}{more_by_compact(result)}"
    )


def _as_json(result: PruneResult) -> dict[str, Any]:
    return {
        "store": str(result.store),
        "dry_run": result.dry_run,
        "dropped": list(result.dropped),
        "kept": list(result.kept),
        "chunks_dropped": result.chunks_dropped,
        "bytes_returned": result.bytes_returned,
        "bytes_left": result.bytes_left,
        "returned": result.returned,
        "hint": result.hint,
        "seconds": round(result.seconds, 6),
    }
