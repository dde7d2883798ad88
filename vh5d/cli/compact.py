"""``vh5d compact``: rewrites a store without dead space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.confirm import confirm
from vh5d.cli.group import complain
from vh5d.cli.locate import locate
from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.cli.progress import progress
from vh5d.cli.text import counted, duration, printable

if TYPE_CHECKING:
    from vh5d.store.compact import CompactResult


@click.command(short_help="Rewrite a store without dead space.")
@click.argument("file", type=PATH)
@click.option("--dry-run", is_flag=True, help="Only show what would come back at least.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@common
@click.pass_context
def command(ctx: click.Context, file: str, dry_run: bool, yes: bool, store: str | None) -> None:
    """Write what is in use of FILE's store into a new one, check it, and put it in its place.

    Every version is what it was. The disk must hold both stores for a while.
    """
    from vh5d.store.compact import compact

    told = Told.of(ctx)
    found = locate(file, store, told).store
    if not dry_run:
        confirm(lambda: f"Rewrite {printable(found)}?", yes=yes)
    with progress(found.name) as show:
        result = compact(found, dry_run=dry_run, progress=show)
    for warning in result.warnings:
        complain(f"{found}: {warning}")
    if told.json:
        print_json(_as_json(result))
    else:
        click.echo(_as_text(result))


def _as_text(result: CompactResult) -> str:
    from vh5d.policy.units import format_size

    before, after = format_size(result.bytes_before), format_size(result.bytes_after)
    what = f"{counted(result.versions, 'version')}, {counted(result.chunks, 'chunk')}"
    name = printable(result.store)
    if result.dry_run:
        return f"{name}: {what}: {before} would become {after} or less"
    return f"{name}: {what}: {before} became {after}, in {duration(result.seconds)}"


def _as_json(result: CompactResult) -> dict[str, Any]:
    return {
        "store": str(result.store),
        "dry_run": result.dry_run,
        "versions": result.versions,
        "chunks": result.chunks,
        "bytes_before": result.bytes_before,
        "bytes_after": result.bytes_after,
        "warnings": list(result.warnings),
        "seconds": round(result.seconds, 6),
    }
