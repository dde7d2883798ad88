"""``vh5d prune``: drops versions, and gives back the space of what only they had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.confirm import confirm
from vh5d.cli.group import complain
from vh5d.cli.locate import locate
from vh5d.cli.opening import opened
from vh5d.cli.options import PATH, Told, VersionCommand, common, print_json
from vh5d.cli.progress import progress
from vh5d.cli.text import counted, duration, printable

if TYPE_CHECKING:
    from vh5d.store.prune import PruneResult

SHOWN = 6


@click.command(cls=VersionCommand, short_help="Drop versions, and give back their space.")
@click.argument("file", type=PATH)
@click.argument("versions", nargs=-1, metavar="[VERSION…]")
@click.option("--dry-run", is_flag=True, help="Only show what would be dropped and come back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@common
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    versions: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    store: str | None,
) -> None:
    """Drop each VERSION of FILE, and give back the space of what no other version has.

    One version always stays. FILE itself is not touched. Without a VERSION, space comes back that
    an interruption left.
    """
    from vh5d.store.prune import prune

    told = Told.of(ctx)
    found = locate(file, store, told).store
    with opened(found) as reader:
        names = {reader.resolve(spec).name for spec in versions}
    if names and not dry_run:
        confirm(lambda: _question(prune(found, names, dry_run=True)), yes=yes)
    with progress(found.name) as show:
        result = prune(found, names, dry_run=dry_run, progress=show)
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
        return f"{name}: would drop {_names(result)}; {kept} would stay, {size} come back"
    return (
        f"{name}: dropped {click.style(_names(result), bold=True)}; {kept} left, "
        f"{size} came back, in {duration(result.seconds)}"
    )


def _as_json(result: PruneResult) -> dict[str, Any]:
    return {
        "store": str(result.store),
        "dry_run": result.dry_run,
        "dropped": list(result.dropped),
        "kept": list(result.kept),
        "chunks_dropped": result.chunks_dropped,
        "bytes_returned": result.bytes_returned,
        "returned": result.returned,
        "hint": result.hint,
        "seconds": round(result.seconds, 6),
    }
