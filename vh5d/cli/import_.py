"""``vh5d import``: a store made of a file of versioned-hdf5."""

from __future__ import annotations

from pathlib import Path

import click

from vh5d.cli.group import complain
from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.cli.progress import progress
from vh5d.cli.text import counted, duration, printable


@click.command(short_help="Make a store of a file of versioned-hdf5.")
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@common
@click.pass_context
def command(ctx: click.Context, old: str, new: str) -> None:
    """Make the store NEW of OLD, a file that versioned-hdf5 wrote, which stays as it is.

    Every version comes along, with its name and its time.
    """
    from vh5d.interop.importing import import_file
    from vh5d.policy.units import format_size

    source, target = Path(old).absolute(), Path(new).absolute()
    with progress(source.name) as show:
        result = import_file(source, target, progress=show)
    for line in result.warnings:
        complain(f"{source}: {line}")
    if Told.of(ctx).json:
        print_json(
            {
                "source": str(result.source),
                "store": str(result.store),
                "data_version": result.data_version,
                "versions": list(result.versions),
                "bytes": result.nbytes,
                "warnings": list(result.warnings),
                "seconds": round(result.seconds, 6),
            }
        )
        return
    click.echo(
        f"{printable(result.store)}: {counted(len(result.versions), 'version')} of "
        f"{printable(source)} (data version {result.data_version}), "
        f"{format_size(result.nbytes)} in {duration(result.seconds)}"
    )
