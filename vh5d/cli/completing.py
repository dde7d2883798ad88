"""What a shell offers for a VERSION."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from vh5d.cli.text import local_time, printable

if TYPE_CHECKING:
    from vh5d.store.versions import VersionInfo

#: Seconds that somebody at a prompt waits for a store that is being written.
PATIENCE = 0.5


def version_names(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001 - click's signature
    incomplete: str,
) -> list[CompletionItem]:
    """Return the versions of the FILE before, newest first, and their tags, that begin so.

    Where there are none, or they cannot be read now, nothing is offered and nothing said.
    """
    from vh5d.cli.locate import locate
    from vh5d.cli.options import Told
    from vh5d.errors import VH5DError
    from vh5d.store.reader import open_store

    file = ctx.params.get("file")
    if not file:
        return []
    try:
        found = locate(file, ctx.params.get("store"), Told.of(ctx)).store
        with open_store(found, timeout=PATIENCE) as reader:
            infos = reader.versions
    except (VH5DError, OSError):
        return []
    items = (item for info in reversed(infos) for item in _items(info))
    return [item for item in items if item.value.startswith(incomplete)]


def _items(info: VersionInfo) -> Iterator[CompletionItem]:
    when = local_time(info.timestamp)
    for name in (info.name, *info.tags):
        # A shell would split it, or worse.
        if name == printable(name) and not any(c.isspace() for c in name):
            yield CompletionItem(name, help=when if name == info.name else f"{info.name}, {when}")
