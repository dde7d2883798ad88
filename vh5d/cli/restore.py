"""``vh5d restore``: a version's file, or one dataset of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vh5d.cli.completing import version_names
from vh5d.cli.group import FAILED, complain
from vh5d.cli.locate import Located, locate, source_of
from vh5d.cli.opening import opened
from vh5d.cli.options import PATH, Told, VersionCommand, common, print_json
from vh5d.cli.progress import progress
from vh5d.cli.text import both_times, duration, printable
from vh5d.errors import TargetExistsError, UsageError

if TYPE_CHECKING:
    from vh5d.capture.restore import RestoreResult
    from vh5d.store.versions import VersionInfo


@click.command(cls=VersionCommand, short_help="Get a version back, bit for bit.")
@click.argument("file", type=PATH)
@click.argument("version", required=False, shell_complete=version_names)
@click.option("--at", metavar="TIME", help="The version that was the newest then.")
@click.option(
    "-o", "--output", metavar="OUT", type=PATH, help="The file to make, or its directory."
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option(
    "--dataset", metavar="PATH", help="Only this dataset or group, in an HDF5 file of its own."
)
@click.option(
    "--followed", is_flag=True, help="The files that the version goes with, too, beside it."
)
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@common
@click.pass_context
def command(  # noqa: PLR0913, PLR0917 - one for each option
    ctx: click.Context,
    file: str,
    version: str | None,
    at: str | None,
    output: str | None,
    force: bool,
    dataset: str | None,
    followed: bool,
    store: str | None,
) -> None:
    """Make the file of a version again; of the newest, unless VERSION or --at says otherwise.

    Without -o it goes back to its place, if that is empty. TIME is like 2026-11-24T09:30 (local),
    2026-11-24T09:30Z or "2026-11-24 09:30 Europe/Berlin".
    """
    if version is not None and at is not None:
        raise UsageError("both VERSION and --at", hint="say one of them")
    if dataset is not None and followed:
        raise UsageError("both --dataset and --followed", hint="say one of them")
    told = Told.of(ctx)
    found = locate(file, store, told)
    spec = f"@{at}" if at is not None else version or "-1"
    with opened(found.store) as reader:
        chosen = reader.resolve(spec)
        target = _target(found, chosen, output, whole=dataset is None, force=force)
    if dataset is None:
        ways = _Ways(force=force, followed=followed, json=told.json)
        if _restore(found.store, chosen, target, ways):
            ctx.exit(FAILED)
    else:
        _extract(found.store, chosen, dataset, target, force=force, json=told.json)


def _target(
    found: Located, version: VersionInfo, output: str | None, *, whole: bool, force: bool
) -> Path:
    place = found.source or source_of(found.store, version.source_path)
    if output is not None:
        out = Path(os.path.abspath(output))  # noqa: PTH100 - not through links
        if not (out.is_dir() or output.endswith(os.sep)):
            return out
        if place is None:
            raise UsageError(f"{out}: is a directory", hint="name the file to make in it")
        return out / place.name
    if not whole:
        raise UsageError("where to?", hint="say -o OUT with --dataset")
    if place is None:
        raise UsageError(f"{found.store}: does not say where its file was", hint="say -o OUT")
    if place.exists() and not force:
        raise TargetExistsError(
            f"{place}: exists, and is left as it is",
            hint="say -o OUT for a file beside it, --force to replace it",
        )
    return place


@dataclass(frozen=True)
class _Ways:
    force: bool
    followed: bool
    json: bool


def _restore(store: Path, version: VersionInfo, target: Path, ways: _Ways) -> bool:
    """Restore a version; whether something could not be."""
    from vh5d.capture.restore import restore
    from vh5d.capture.together import restore_companions
    from vh5d.policy.units import format_size

    with progress(target.name) as show:
        result = restore(store, version.name, target, overwrite=ways.force, progress=show)
    others: tuple[RestoreResult, ...] = ()
    left: tuple[str, ...] = ()
    if ways.followed and version.source_path is not None:
        others, left = restore_companions(
            store, version.name, target, source=version.source_path, overwrite=ways.force
        )
    if ways.json:
        print_json(
            {
                "store": str(store),
                "version": result.version,
                "target": str(result.target),
                "bytes": result.nbytes,
                "digest": result.digest,
                "exact": result.exact,
                "warnings": [*result.warnings, *left],
                "followed": [
                    {"target": str(each.target), "version": each.version} for each in others
                ],
                "seconds": round(result.seconds, 6),
            }
        )
        return bool(left)
    for warning in (*result.warnings, *left):
        complain(warning)
    click.echo(
        f"{printable(target)}: {click.style(version.name, bold=True)} of "
        f"{both_times(version.timestamp)}, {format_size(result.nbytes)} "
        f"in {duration(result.seconds)}, "
        + ("the digest is right" if result.exact else "the same content, not bit for bit")
    )
    for each in others:
        click.echo(f"{printable(each.target)}: {each.version}, {format_size(each.nbytes)}")
    return bool(left)


def _extract(
    store: Path, version: VersionInfo, path: str, target: Path, *, force: bool, json: bool
) -> None:
    from vh5d.capture.extract import extract

    result = extract(store, version.name, path, target, overwrite=force)
    if json:
        print_json(
            {
                "store": str(store),
                "version": version.name,
                "target": str(target),
                "dataset": result.path,
                "bytes": result.nbytes,
                "warnings": list(result.warnings),
                "seconds": round(result.seconds, 6),
            }
        )
        return
    click.echo(
        f"{printable(target)}: {printable(result.path)} of {click.style(version.name, bold=True)}, "
        f"{both_times(version.timestamp)}"
    )
