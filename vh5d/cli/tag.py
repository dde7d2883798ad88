"""``vh5d tag``: names for versions, which retention never drops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vh5d.cli.completing import version_names
from vh5d.cli.locate import locate
from vh5d.cli.opening import opened
from vh5d.cli.options import PATH, Told, VersionCommand, common, print_json
from vh5d.cli.text import both_times, printable, table
from vh5d.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from vh5d.store.versions import VersionInfo


@click.command(cls=VersionCommand, short_help="Give versions names that are never dropped.")
@click.argument("file", type=PATH)
@click.argument("version", required=False, shell_complete=version_names)
@click.argument("name", required=False)
@click.option("--delete", "deleted", metavar="NAME", multiple=True, help="Take this tag off.")
@click.option("--move", is_flag=True, help="Take NAME off the version that has it.")
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@common
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    version: str | None,
    name: str | None,
    deleted: tuple[str, ...],
    move: bool,
    store: str | None,
) -> None:
    """Give VERSION of FILE the tag NAME; without both, list the tags that there are.

    A tag is good wherever a VERSION is. Retention keeps versions that have one, and `vh5d prune`
    refuses them unless told.
    """
    from vh5d.store.tags import tag, untag

    if (version is None) != (name is None):
        raise UsageError("a VERSION without a NAME", hint="vh5d tag FILE VERSION NAME")
    told = Told.of(ctx)
    found = locate(file, store, told).store
    for each in deleted:
        untag(found, each)
    if version is not None and name is not None:
        tag(found, version, name, move=move)
    with opened(found) as reader:
        tagged = [(each, info) for info in reversed(reader.versions) for each in info.tags]
    if told.json:
        tags = [_as_json(each, info) for each, info in tagged]
        print_json({"store": str(found), "tags": tags})
    elif name is None and not deleted:
        click.echo(_as_table(tagged) if tagged else "no tags yet")
    else:
        click.echo(_done(found, name, deleted, tagged))


def _done(
    store: Path, name: str | None, deleted: tuple[str, ...], tagged: list[tuple[str, VersionInfo]]
) -> str:
    lines = [f"{printable(store)}: {printable(each)} is no tag any more" for each in deleted]
    lines += [
        f"{printable(store)}: {click.style(info.name, bold=True)} of "
        f"{both_times(info.timestamp)} is {printable(each)}"
        for each, info in tagged
        if each == name
    ]
    return "\n".join(lines)


def _as_json(tag: str, info: VersionInfo) -> dict[str, object]:
    return {
        "name": tag,
        "version": info.name,
        "timestamp": info.timestamp.isoformat(),
        "sequence": info.sequence,
    }


def _as_table(tagged: list[tuple[str, VersionInfo]]) -> str:
    rows = [(printable(tag), printable(i.name), both_times(i.timestamp)) for tag, i in tagged]
    return table(("tag", "version", "time"), rows)
