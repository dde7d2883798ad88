"""``vh5d verify``: checks stores, down to the last chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.group import FAILED, complain, explain
from vh5d.cli.locate import is_store, locate, stores_below
from vh5d.cli.opening import tell_recovery
from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.cli.progress import Interrupted, progress
from vh5d.cli.text import counted, duration, printable
from vh5d.errors import UsageError, VH5DError

if TYPE_CHECKING:
    from vh5d.store.verify import Problem, VerifyResult


@click.command(short_help="Check stores, down to the last chunk.")
@click.argument("files", nargs=-1, metavar="[FILE…]", type=PATH)
@click.option("--store", type=PATH, help="The store of one FILE, if it is elsewhere.")
@common
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], store: str | None) -> None:
    """Read everything in the stores of FILE… and check it against its hashes and checksums.

    FILE is a file, its store, or a directory: then all stores below it are checked. Without a
    FILE, every store of --config is.
    """
    if store is not None and len(files) > 1:
        raise UsageError("--store with several files", hint="verify them one at a time")
    told = Told.of(ctx)
    if not files and told.config_file is None:
        raise UsageError("nothing to verify", hint="name a FILE, or --config FILE")
    results: list[VerifyResult] = []
    failed = stopped = False
    for path in _stores(files, store, told):
        if stopped:
            raise Interrupted(f"interrupted; {path} and what follows were not checked")
        try:
            result, stopped = _verify(path)
        except (VH5DError, OSError) as error:
            if len(files) == 1 and not Path(files[0]).is_dir():
                raise
            complain(explain(error))
            _tell(told, path, explain(error))
            failed = True
            continue
        results.append(result)
        if not result.ok:
            number = counted(len(result.problems), "problem")
            _tell(told, path, f"{path}: {number}, the first: {result.problems[0].message}")
        if not told.json:
            click.echo(_as_text(result))
    if told.json:
        print_json(_as_json(results, failed=failed))
    elif len(results) > 1:
        click.echo(_in_all(results))
    if failed or not all(result.ok for result in results):
        ctx.exit(FAILED)


def _tell(told: Told, store: Path, error: str) -> None:
    """Have the service of --config tell whoever its policies say."""
    if told.config_file is None:
        return
    from vh5d.service.stores.damage import tell_damage
    from vh5d.service.telling.report import find_service

    try:
        tell_damage(find_service((), told.config_file, told.state), store.absolute(), error)
    except VH5DError as refused:
        complain(explain(refused))


def _stores(files: tuple[str, ...], store: str | None, told: Told) -> Iterator[Path]:
    config = told.config()
    if not files and config is not None:
        from vh5d.policy.places import files_of_stores

        files_there = files_of_stores(config.policies)
        yield from (path for path in files_there if is_store(path, expected=True))
    for file in files:
        if store is None and Path(file).is_dir():
            yield from stores_below(Path(file))
        else:
            yield locate(file, store, told).store


def _verify(path: Path) -> tuple[VerifyResult, bool]:
    """Check a store; what was found, and whether to end with it."""
    from vh5d.store.verify import verify

    with progress(path.name, undone="not all was checked") as show:
        result = verify(path, progress=show)
    tell_recovery(path, result.recovered)
    return result, show.stopped


def _as_text(result: VerifyResult) -> str:
    from vh5d.policy.units import format_size

    what = (
        f"{counted(result.versions, 'version')}, {counted(result.chunks, 'chunk')}, "
        f"{format_size(result.nbytes)} in {duration(result.seconds)}"
    )
    name = printable(result.store)
    if result.ok:
        return f"{name}: {click.style('all is well', fg='green')}: {what}"
    found = click.style(counted(len(result.problems), "problem"), fg="red", bold=True)
    lines = [f"{name}: {found}: {what}", *map(_line, result.problems)]
    if result.unaffected:
        lines.append(f"  not affected: {', '.join(map(printable, result.unaffected))}")
    return "\n".join(lines)


def _in_all(results: list[VerifyResult]) -> str:
    from vh5d.policy.units import format_size

    bad = [result for result in results if not result.ok]
    found = f"problems in {counted(len(bad), 'store')}" if bad else "all is well"
    return (
        f"{counted(len(results), 'store')}: {found}: "
        f"{counted(sum(result.versions for result in results), 'version')}, "
        f"{format_size(sum(result.nbytes for result in results))}"
    )


def _line(problem: Problem) -> str:
    where = f" {printable(problem.path)}:" if problem.path is not None else ""
    versions = f" ({', '.join(problem.versions)})" if problem.versions else ""
    return f"  {problem.kind}:{where} {printable(problem.message)}{versions}"


def _as_json(results: list[VerifyResult], *, failed: bool) -> dict[str, Any]:
    return {
        "ok": not failed and all(result.ok for result in results),
        "problems": [
            {
                "store": str(result.store),
                "kind": problem.kind,
                "message": problem.message,
                "path": problem.path,
                "versions": list(problem.versions),
            }
            for result in results
            for problem in result.problems
        ],
        "stores": [
            {
                "store": str(result.store),
                "ok": result.ok,
                "versions": result.versions,
                "chunks": result.chunks,
                "bytes": result.nbytes,
                "recovered": result.recovered,
                "chain": result.chain,
                "unaffected": list(result.unaffected),
                "seconds": round(result.seconds, 6),
            }
            for result in results
        ],
    }
