"""``vh5d init``: a configuration to begin with."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.errors import UsageError

KINDS = ("detector", "microscope", "netcdf", "simulation")


@click.command(short_help="Write a configuration to begin with.")
@click.argument("kind", type=click.Choice(KINDS), default="detector", metavar="[KIND]")
@click.option(
    "-o",
    "--output",
    type=PATH,
    default="vh5d.yaml",
    show_default=True,
    help="Where to write it; - is standard output.",
)
@click.option("--watch", type=PATH, metavar="DIR", help="What to watch.  [default: this directory]")
@click.option("--schema", is_flag=True, help="Write the JSON Schema beside it, for editors.")
@common
@click.pass_context
def command(ctx: click.Context, kind: str, output: str, watch: str | None, schema: bool) -> None:
    """Write an annotated configuration for files of some KIND; a file that is there stays.

    KIND is detector (unless another is named), microscope, netcdf or simulation.

    Then: `vh5d check-config FILE` says what it will do, and `vh5d up --config FILE` does it.
    """
    from vh5d.policy.starters import starter

    directory = Path(watch if watch is not None else ".").absolute()
    beside = Path(output).with_suffix(".schema.json") if schema else None
    text = starter(kind, directory, schema=beside.name if beside is not None else None)
    if output == "-":
        if beside is not None:
            raise UsageError("--schema needs a file to be beside", hint="say -o FILE")
        click.echo(text, nl=False)
        return
    _write_new(Path(output), text)
    if beside is not None:
        from vh5d.policy import schema as json_schema

        _write_new(beside, json.dumps(json_schema(), indent=2) + "\n")
    if Told.of(ctx).json:
        print_json({"file": output, "kind": kind, "watch": str(directory)})
    else:
        click.echo(f"wrote {output}; `vh5d check-config {output}` says what it will do")


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="say -o FILE for another") from None
