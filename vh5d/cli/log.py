"""``vh5d log``: the versions of a file, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.gone import as_text, departure
from vh5d.cli.group import complain
from vh5d.cli.locate import locate, source_of
from vh5d.cli.opening import opened
from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.cli.text import counted, local_time, printable, table, utc_time

if TYPE_CHECKING:
    from vh5d.store.compare import Counts
    from vh5d.store.reader import StoreReader
    from vh5d.store.versions import VersionInfo


@click.command(short_help="List the versions of a file, newest first.")
@click.argument("file", type=PATH)
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@click.option(
    "-n", "number", type=click.IntRange(min=1), metavar="N", help="Only the newest so many."
)
@common
@click.pass_context
def command(ctx: click.Context, file: str, store: str | None, number: int | None) -> None:
    """List the versions of FILE: name, time, size added, and what changed.

    FILE is a file, which may be gone, or its store.
    """
    told = Told.of(ctx)
    found = locate(file, store, told)
    with opened(found.store, theirs=True) as reader:
        source = found.source
        if source is None and reader.versions:
            source = source_of(found.store, reader.versions[-1].source_path)
        gone = departure(source, told)
        newest = reader.versions[::-1][:number]
        if told.json:
            versions = [_as_json(each, _changed(reader, each)) for each in newest]
            print_json({"store": str(found.store), "versions": versions, "gone": gone})
            return
        if source is not None and gone is not None:
            complain(as_text(source, gone))
        if newest:
            click.echo(_as_table(reader, newest))
        else:
            click.echo("no versions yet")


def _changed(reader: StoreReader, version: VersionInfo) -> Counts | None:
    """Count what a version changed, if it and its predecessor have trees."""
    from vh5d.store.compare import count_changes

    before = next((each for each in reader.versions if each.name == version.prev_version), None)
    if before is None or "bytes" in {before.kept_as, version.kept_as}:
        return None
    return count_changes(reader, before, version)


def _as_json(version: VersionInfo, counts: Counts | None) -> dict[str, Any]:
    return {
        "name": version.name,
        "timestamp": version.timestamp.isoformat(),
        "sequence": version.sequence,
        "bytes_added": version.bytes_added,
        "tags": list(version.tags),
        "prev_version": version.prev_version,
        "source": str(version.source_path) if version.source_path is not None else None,
        "source_size": version.source_size,
        "source_mtime_ns": version.source_mtime_ns,
        "host": version.host,
        "cause": version.cause,
        "digest": version.digest,
        "kept_as": version.kept_as,
        "changes": None if counts is None else counts.by_kind(),
    }


def _as_table(reader: StoreReader, versions: list[VersionInfo]) -> str:
    from vh5d.policy.units import format_size

    def size(nbytes: int | None) -> str:
        return "-" if nbytes is None else format_size(nbytes)

    local = any(local_time(each.timestamp) != utc_time(each.timestamp) for each in versions)
    tagged = any(each.tags for each in versions)
    rows = [
        (
            each.name,
            local_time(each.timestamp),
            *([f"{utc_time(each.timestamp)}"] if local else []),
            size(each.bytes_added),
            size(each.source_size),
            printable(each.cause or "-"),
            each.kept_as or "-",
            *([", ".join(map(printable, each.tags))] if tagged else []),
            _what(reader, each),
        )
        for each in versions
    ]
    utc = ["UTC"] if local else []
    tags = ["tags"] if tagged else []
    header = ("version", "time", *utc, "added", "size", "cause", "kept as", *tags, "what changed")
    return table(header, rows, right={3, 4} if local else {2, 3})


def _what(reader: StoreReader, version: VersionInfo) -> str:
    if version.sequence == min(each.sequence for each in reader.versions):
        return "the first version" if version.sequence == 1 else "the oldest that is left"
    counts = _changed(reader, version)
    if counts is None:
        return "the bytes of the file"
    parts = []
    for kind, changes in counts.by_kind().items():
        parts += [f"{counted(n, kind)} {what}" for what, n in changes.items() if n]
    return ", ".join(parts) or "no object, but the file's bytes"
