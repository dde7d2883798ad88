"""``vh5d repair``: makes right again what can be of a damaged store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.confirm import confirm
from vh5d.cli.group import FAILED
from vh5d.cli.locate import Located, locate, source_of
from vh5d.cli.opening import opened
from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.cli.text import counted, duration, printable

if TYPE_CHECKING:
    from pathlib import Path

    from vh5d.capture.repair import RepairResult
    from vh5d.store.verify import Problem

SHOWN = 20


@click.command(short_help="Make right again what can be of a damaged store.")
@click.argument("file", type=PATH)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@common
@click.pass_context
def command(ctx: click.Context, file: str, dry_run: bool, yes: bool, store: str | None) -> None:
    """Bring back what `vh5d verify` finds damaged in FILE's store, as far as that can be proved.

    Chunks come from FILE, if it still has their bytes, or from another copy in the store; tables
    and indexes from the chunks. What is sound is not touched; what cannot be repaired is listed.
    """
    from vh5d.capture.repair import repair

    told = Told.of(ctx)
    found = locate(file, store, told)
    source = _source(found)
    if not dry_run:
        confirm(lambda: _question(repair(found.store, source=source, dry_run=True)), yes=yes)
    result = repair(found.store, source=source, dry_run=dry_run)
    if told.json:
        print_json(_as_json(result))
    else:
        click.echo(_as_text(result))
    if not result.ok:
        ctx.exit(FAILED)


def _source(found: Located) -> Path | None:
    if found.source is not None:
        return found.source
    with opened(found.store) as reader:
        recorded = next((v.source_path for v in reversed(reader.versions) if v.source_path), None)
    return source_of(found.store, recorded)


def _question(foreseen: RepairResult) -> str:
    return f"{_as_text(foreseen)}\nRepair {printable(foreseen.store)}?"


def _as_text(result: RepairResult) -> str:
    name = printable(result.store)
    if not result.before:
        return f"{name}: {click.style('all is well', fg='green')}: nothing to repair"
    what = "would be repaired" if result.dry_run else "repaired"
    lines = [f"{name}: {counted(len(result.repaired), 'part')} {what}, {duration(result.seconds)}"]
    lines += [f"  {printable(line)}" for line in result.repaired[:SHOWN]]
    if len(result.repaired) > SHOWN:
        lines.append(f"  and {len(result.repaired) - SHOWN:,} more")
    if result.left:
        lines.append(click.style(f"  {counted(len(result.left), 'problem')} left:", fg="red"))
    lines += [f"  {_line(problem)}" for problem in result.left[:SHOWN]]
    for each in result.lost[:SHOWN]:
        versions = ", ".join(map(printable, each.versions))
        lines.append(f"  damaged in {versions}: {printable(each.path)} {_ranges(each.ranges)}")
    return "\n".join(lines)


def _line(problem: Problem) -> str:
    where = f" {printable(problem.path)}:" if problem.path is not None else ""
    versions = f" ({', '.join(problem.versions)})" if problem.versions else ""
    return f"{problem.kind}:{where} {printable(problem.message)}{versions}"


def _ranges(ranges: tuple[tuple[tuple[int, int], ...], ...] | None) -> str:
    if ranges is None:
        return "(its index)"
    shown = ["[" + ", ".join(f"{a}:{z}" for a, z in box) + "]" for box in ranges[:SHOWN]]
    return " ".join(shown) + (" …" if len(ranges) > SHOWN else "")


def _as_json(result: RepairResult) -> dict[str, Any]:
    def listed(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
        return [
            {
                "kind": each.kind,
                "message": each.message,
                "path": each.path,
                "versions": list(each.versions),
            }
            for each in problems
        ]

    return {
        "store": str(result.store),
        "dry_run": result.dry_run,
        "ok": result.ok,
        "repaired": list(result.repaired),
        "problems": listed(result.before),
        "left": listed(result.left),
        "lost": [
            {
                "versions": list(each.versions),
                "path": each.path,
                "ranges": None
                if each.ranges is None
                else [list(map(list, r)) for r in each.ranges],
            }
            for each in result.lost
        ],
        "seconds": round(result.seconds, 6),
    }
