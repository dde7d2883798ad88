"""``vh5d diff``: what differs between two versions, or a version and the file as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.completing import version_names
from vh5d.cli.group import FAILED
from vh5d.cli.locate import locate, source_of
from vh5d.cli.opening import opened
from vh5d.cli.options import PATH, Told, VersionCommand, common, print_json
from vh5d.cli.text import counted, printable
from vh5d.cli.words import attribute, box, number, of_dataset, value
from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.store.boxes import Box
    from vh5d.store.describe import DatasetDescription
    from vh5d.store.diff import AttributeDiff, DatasetDiff, Diff, ObjectDiff
    from vh5d.store.value_diff import ValueDiff

RANGES_SHOWN = 8
COLOURS = {"added": "green", "removed": "red", "changed": "yellow"}
SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command(cls=VersionCommand, short_help="Show what differs between two versions.")
@click.argument("file", type=PATH)
@click.argument("version1", shell_complete=version_names)
@click.argument("version2", required=False, shell_complete=version_names)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when there are differences.")
@click.option("--store", type=PATH, help="The store, if it is elsewhere.")
@common
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    version1: str,
    version2: str | None,
    exit_code: bool,
    store: str | None,
) -> None:
    """Show what differs from VERSION1 to VERSION2, or to FILE as it is now.

    Objects, attributes, and for datasets the index ranges of the chunks that changed and how
    their values differ. Chunks that are the same are not read.
    """
    told = Told.of(ctx)
    found = locate(file, store, told)
    with opened(found.store) as reader:
        before = reader.resolve(version1)
        if version2 is not None:
            from vh5d.store.diff import diff_versions

            result, source = diff_versions(reader, before, reader.resolve(version2)), None
        else:
            from vh5d.capture.diff import diff_source

            source = found.source or source_of(found.store, before.source_path)
            if source is None:
                raise UsageError(
                    f"{found.store}: does not say where its file is", hint="name a second version"
                )
            if not source.exists():
                raise UsageError(
                    f"{source}: is gone, and cannot be compared", hint="name a second version"
                )
            result = diff_source(reader, before, source)
        if told.json:
            print_json(_as_json(result, None if source is None else str(source)))
        else:
            click.echo(_as_text(result))
    if exit_code and result:
        ctx.exit(FAILED)


def _as_text(result: Diff) -> str:
    if result.same_bytes:
        return "the same, byte for byte"
    if not result.compared:
        return "the bytes differ; one of the two was kept by its bytes, so there are no objects"
    if not result.objects:
        return "the bytes differ, but no object does"
    return "\n".join(line for each in result.objects for line in _object(each))


def _object(each: ObjectDiff) -> Iterator[str]:
    what = click.style(f"{SIGNS[each.what]} {printable(each.path)}", fg=COLOURS[each.what])
    yield f"{what}  {each.kind} {each.what}{_summary(each)}"
    for line in (*_attributes(each.attributes), *_dataset(each)):
        yield f"    {line}"


def _summary(each: ObjectDiff) -> str:
    if each.kind == "link":
        leads = (each.link_before, each.link_after)
        return ": " + " → ".join(printable(target) for target in leads if target is not None)
    if each.dataset is not None and each.what != "changed":
        described = each.dataset.before or each.dataset.after
        return f": {of_dataset(described)}" if described is not None else ""
    return ""


def _attributes(differing: tuple[AttributeDiff, ...]) -> Iterator[str]:
    for each in differing:
        name = f"@{printable(each.name)}"
        if each.before is None and each.after is not None:
            yield f"{name} added: {attribute(each.after)}"
        elif each.after is None and each.before is not None:
            yield f"{name} removed: {attribute(each.before)}"
        elif each.before is not None and each.after is not None:
            yield f"{name}: {attribute(each.before)} → {attribute(each.after)}"


def _dataset(each: ObjectDiff) -> Iterator[str]:
    dataset = each.dataset
    if dataset is None or dataset.before is None or dataset.after is None:
        return
    yield from _definition(dataset.before, dataset.after)
    if dataset.ranges:
        yield _ranges(dataset)
    if dataset.values is not None and dataset.values.compared:
        yield from _values(dataset.values)
    if dataset.unread is not None:
        yield dataset.unread


def _definition(before: DatasetDescription, after: DatasetDescription) -> Iterator[str]:
    for name in ("type", "shape", "maxshape", "chunks", "filters"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"{name}: {value(old)} → {value(new)}"


def _ranges(dataset: DatasetDiff) -> str:
    shown = ", ".join(map(box, dataset.ranges[:RANGES_SHOWN]))
    more = len(dataset.ranges) - RANGES_SHOWN
    rest = f" … and {more:,} more" if more > 0 else ""
    if dataset.changed_chunks is None:
        return f"in {shown}{rest}"
    return f"{counted(dataset.changed_chunks, 'chunk')} changed: {shown}{rest}"


def _values(values: ValueDiff) -> Iterator[str]:
    if not values.differing:
        yield f"{counted(values.compared, 'element')} compared, none differs"
        return
    line = f"{values.differing:,} of {values.compared:,} elements differ"
    if values.max_abs is not None:
        line += f", by {number(values.max_abs)} at most"
    if values.mean_before is not None and values.mean_after is not None:
        line += f"; their mean: {number(values.mean_before)} → {number(values.mean_after)}"
    yield line
    for sample in values.samples:
        index = f"[{', '.join(map(str, sample.index))}]"
        yield f"  {index} {value(sample.before)} → {value(sample.after)}"


def _as_json(result: Diff, source: str | None) -> dict[str, Any]:
    return {
        "store": str(result.store),
        "before": result.before,
        "after": result.after,
        "source": source,
        "same_bytes": result.same_bytes,
        "compared": result.compared,
        "objects": [_object_json(each) for each in result.objects],
    }


def _object_json(each: ObjectDiff) -> dict[str, Any]:
    from dataclasses import asdict

    found: dict[str, Any] = {"path": each.path, "kind": each.kind, "change": each.what}
    if each.kind == "link":
        return {**found, "before": each.link_before, "after": each.link_after}
    found["attributes"] = [asdict(attribute) for attribute in each.attributes]
    if each.dataset is not None:
        found["dataset"] = {
            **asdict(each.dataset),
            "ranges": [_box_json(each_box) for each_box in each.dataset.ranges],
        }
    return found


def _box_json(each: Box) -> dict[str, Any]:
    return {"start": list(each.start), "stop": list(each.stop)}
