"""``vh5d show``: the tree of a version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.completing import version_names
from vh5d.cli.locate import locate
from vh5d.cli.opening import opened
from vh5d.cli.options import PATH, Told, VersionCommand, common, print_json
from vh5d.cli.text import both_times, printable
from vh5d.cli.words import attribute, of_dataset

if TYPE_CHECKING:
    from vh5d.store.listing import Listed
    from vh5d.store.versions import VersionInfo


@click.command(cls=VersionCommand, short_help="Show what is in a version.")
@click.argument("file", type=PATH)
@click.argument("version", default="-1", shell_complete=version_names)
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@common
@click.pass_context
def command(ctx: click.Context, file: str, version: str, store: str | None) -> None:
    """Show the tree of VERSION, the newest by default: shapes, types, attributes, links."""
    from dataclasses import asdict

    from vh5d.store.companions import read_companions
    from vh5d.store.listing import list_objects

    told = Told.of(ctx)
    found = locate(file, store, told)
    with opened(found.store, theirs=True) as reader:
        chosen = reader.resolve(version)
        objects = list_objects(reader, chosen)
        follows = read_companions(reader.file, chosen.name)
        if told.json:
            listed = [_as_json(each) for each in objects]
            print_json(
                {
                    "store": str(found.store),
                    "version": chosen.name,
                    "timestamp": chosen.timestamp.isoformat(),
                    "kept_as": chosen.kept_as,
                    "objects": listed,
                    "follows": [asdict(each) for each in follows],
                }
            )
            return
        click.echo(_headline(chosen))
        for each in objects:
            for line in _as_text(each):
                click.echo(line)
        for other in follows:
            state = f"{other.version} in {other.store}" if other.version else "not there"
            click.echo(f"goes with {printable(other.path)}: {printable(state)}")


def _headline(version: VersionInfo) -> str:
    from vh5d.policy.units import format_size

    words = [f"{click.style(version.name, bold=True)} of {both_times(version.timestamp)}"]
    if version.source_path is not None:
        words.append(printable(version.source_path))
    if version.source_size is not None:
        words.append(format_size(version.source_size))
    if version.kept_as == "bytes":
        words.append("kept by its bytes: HDF5 could not open it, so there is no tree")
    return ", ".join(words)


def _as_text(each: Listed) -> Iterator[str]:
    indent = "  " * each.depth
    name = printable(each.name)
    match each.kind:
        case "group":
            name = click.style(f"{name.rstrip('/')}/", fg="blue", bold=True)
            line = f"same as {printable(each.same_as)}" if each.same_as is not None else ""
        case "dataset":
            line = of_dataset(each.dataset) if each.dataset is not None else ""
            if each.same_as is not None:
                line = f"same as {printable(each.same_as)}"
        case "datatype":
            line = f"type {printable(each.type or '?')}"
        case _:
            name = click.style(name, fg="cyan")
            line = f"→ {printable(each.leads_to or '?')}"
    yield f"{indent}{name}  {line}".rstrip()
    for key, value in each.attributes.items():
        yield f"{indent}  @{printable(key)} = {attribute(value)}"


def _as_json(each: Listed) -> dict[str, Any]:
    from dataclasses import asdict

    listed: dict[str, Any] = {"path": each.path, "kind": each.kind}
    if each.leads_to is not None:
        return {**listed, "leads_to": each.leads_to}
    if each.same_as is not None:
        return {**listed, "same_as": each.same_as}
    listed["attributes"] = {name: asdict(value) for name, value in each.attributes.items()}
    if each.dataset is not None:
        listed.update(asdict(each.dataset))
    if each.type is not None:
        listed["type"] = each.type
    return listed
