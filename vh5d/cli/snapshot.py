"""``vh5d snapshot``: captures files now, in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.group import FAILED, complain, explain
from vh5d.cli.locate import Located, locate_for_capture
from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.cli.progress import Interrupted, progress
from vh5d.cli.text import duration, printable
from vh5d.errors import UsageError, VH5DError

if TYPE_CHECKING:
    from vh5d.capture.options import Busy, CaptureOptions, CaptureResult, Compression


@click.command(short_help="Capture files now.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=PATH)
@click.option("--store", type=PATH, help="Where to keep the versions of one FILE.")
@click.option(
    "--compression",
    type=click.Choice(["auto", "keep", "none", "zstd"]),
    help="What to do with data that the file does not compress.  [default: auto]",
)
@click.option("--busy", is_flag=True, help="Try it even if somebody has the file open for writing.")
@click.option("--swmr", is_flag=True, help="Capture a file that is written with SWMR as it grows.")
@click.option("--content", is_flag=True, help="Keep the content only, nothing for bit for bit.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for other users of the store.",
)
@common
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    store: str | None,
    compression: Compression | None,
    busy: bool,
    swmr: bool,
    content: bool,
    timeout: float,
) -> None:
    """Keep the present state of each FILE as a new version, unless it is the last one's.

    The store is the one that FILE has; else FILE's path below the nearest directory that has a
    .vh5d, in it; else .vh5d/NAME beside FILE.
    """
    if store is not None and len(files) > 1:
        raise UsageError("--store with several files", hint="snapshot them one at a time")
    if busy and swmr:
        raise UsageError("both --busy and --swmr", hint="say one of them")
    told = Told.of(ctx)
    how: Busy = "swmr" if swmr else "try" if busy else "refuse"
    told.config()  # wrong once, not once a file
    errors = []
    stopped = False
    for file in files:
        if stopped:
            raise Interrupted(f"interrupted; {file} and what follows were not captured")
        try:
            found = locate_for_capture(file, store, told)
            options = _options(found, told, busy=how, timeout=timeout)
            if compression is not None:
                options = replace(options, compression=compression)
            if content:
                options = replace(options, exact=False)
            result, stopped = _capture(found, options)
        except (VH5DError, OSError) as error:
            if len(files) == 1:
                raise
            complain(explain(error))
            errors.append(error)
            continue
        for warning in result.warnings:
            complain(f"{result.source}: {warning}")
        if told.json:
            print_json(_as_json(result))
        else:
            click.echo(_as_text(result))
    if errors:
        ctx.exit(FAILED)


def _options(found: Located, told: Told, *, busy: Busy, timeout: float) -> CaptureOptions:
    """Return what the policy of a file asks of its captures."""
    from vh5d.capture.options import CaptureOptions

    config = told.config()
    policy = config.policy_for(found.source) if config and found.source else None
    if policy is None or found.source is None:
        return CaptureOptions(busy=busy, timeout=timeout)
    from vh5d.service.capturing.asked import capture_options

    assert config is not None
    return capture_options(
        policy, found.source, busy=busy, timeout=timeout, policies=config.policies
    )


def _capture(found: Located, options: CaptureOptions) -> tuple[CaptureResult, bool]:
    """Capture a file; the result, and whether to end with it."""
    from vh5d.capture.capture import capture

    assert found.source is not None
    undone = f"{found.source} was not captured"
    with progress(found.source.name, undone=undone) as show:
        result = capture(found.source, found.store, options=options, progress=show)
    return result, show.stopped


def _as_json(result: CaptureResult) -> dict[str, Any]:
    return {
        "source": str(result.source),
        "store": str(result.store),
        "version": result.version,
        "changed": result.changed,
        "bytes_added": result.bytes_added,
        "source_bytes": result.source_bytes,
        "seconds": round(result.seconds, 6),
        "kept_as": result.kept_as,
        "read_bytes": result.read_bytes,
        "warnings": list(result.warnings),
    }


def _as_text(result: CaptureResult) -> str:
    from vh5d.policy.units import format_size

    name = printable(_short(result.source))
    if result.version is None:
        return f"{name}: nothing changed ({duration(result.seconds)})"
    version = click.style(result.version, bold=True)
    kept = "" if result.kept_as == "tree" else f" as {result.kept_as}"
    return (
        f"{name}: {version}{kept}, {format_size(result.bytes_added)} added "
        f"of {format_size(result.source_bytes)} in {duration(result.seconds)}"
    )


def _short(path: Path) -> Path:
    """Return a path as seen from here, if it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
