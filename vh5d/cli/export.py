"""``vh5d export``: a file for versioned-hdf5 made of a store."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from vh5d.cli.group import complain
from vh5d.cli.locate import locate
from vh5d.cli.options import PATH, Told, VersionCommand, common, print_json
from vh5d.cli.progress import progress
from vh5d.cli.text import counted, duration, printable


@click.command(cls=VersionCommand, short_help="Make a file for versioned-hdf5 of a store.")
@click.argument("file", metavar="STORE", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--version",
    "versions",
    multiple=True,
    metavar="VERSION",
    help="Only this version; may be repeated.",
)
@common
@click.pass_context
def command(ctx: click.Context, file: str, out: str, versions: tuple[str, ...]) -> None:
    """Make OUT, a file that versioned-hdf5 opens and stages upon, of STORE, which stays as it is.

    STORE may also be a file whose versions a store keeps. What versioned-hdf5 cannot have is left
    out, and said.
    """
    from vh5d.interop.exporting import export_file
    from vh5d.policy.units import format_size

    with suppress(ImportError):  # chunks are read to know their hashes
        import hdf5plugin  # noqa: F401

    told = Told.of(ctx)
    store, target = locate(file, None, told).store, Path(out).absolute()
    with progress(target.name) as show:
        result = export_file(store, target, versions=versions, progress=show)
    for line in result.warnings:
        complain(f"{store}: {line}")
    if told.json:
        print_json(
            {
                "store": str(result.store),
                "target": str(result.target),
                "versions": list(result.versions),
                "bytes": result.nbytes,
                "warnings": list(result.warnings),
                "seconds": round(result.seconds, 6),
            }
        )
        return
    click.echo(
        f"{printable(result.target)}: {counted(len(result.versions), 'version')}, "
        f"{format_size(result.nbytes)} in {duration(result.seconds)}"
    )
