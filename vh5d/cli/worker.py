"""``vh5d worker``: captures from the queue, in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vh5d.cli.options import DIRECTORY, Told, common
from vh5d.errors import UsageError


@click.command(short_help="Only work: capture what is in the queue.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@click.option(
    "--broker",
    metavar="URL",
    envvar="VH5D_BROKER",
    help="The queue, instead of the configuration's; with a password, say it in VH5D_BROKER.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Captures at a time (default: cores).",
)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="Take from this queue only; may be given several times (default: all of the policies).",
)
@click.option("--parent", type=int, hidden=True)
@common
@click.pass_context
def command(
    ctx: click.Context,
    directories: tuple[Path, ...],
    broker: str | None,
    concurrency: int | None,
    queues: tuple[str, ...],
    parent: int | None,
) -> None:
    """Capture the files that `vh5d watch` puts into the queue.

    For many machines, systemd or compose. SIGTERM: finish what is at work, then end.
    """
    from vh5d.cli._service import (
        begin_role,
        chosen_broker,
        chosen_settings,
        successor_of,
        surroundings_of,
    )
    from vh5d.service.capturing.tasks import run_worker
    from vh5d.service.running.children import arguments_for
    from vh5d.service.running.notify import Notifier
    from vh5d.service.running.signals import StopRequests
    from vh5d.service.stores.maintainer import maintainer
    from vh5d.service.telling.lock_reach import warn_of_locks

    told = Told.of(ctx)
    begin_role(told, parent)
    stop = StopRequests(reloads=told.config_file is not None and parent is None)
    settings, reading = chosen_settings(told, directories)
    url = chosen_broker(broker, settings)
    policies = {policy.name: policy for policy in settings.policies}
    warn_of_locks(settings.policies)
    chosen = _chosen(queues, {policy.queue for policy in settings.policies})
    # Below `vh5d up` that one tells, of all its processes together.
    notifier = Notifier() if parent is None else Notifier({})
    several = concurrency or settings.workers
    successor = successor_of(reading, url, stop, notifier) if parent is None else None
    surroundings = surroundings_of(ctx)
    arguments = [*(["--json"] if told.json else []), *arguments_for(told.config_file, directories)]
    beside = maintainer(settings, url, arguments, surroundings, reading)
    beside.start()
    status = run_worker(
        url,
        policies,
        concurrency=several,
        notifier=notifier,
        stop=stop,
        queues=chosen,
        maps=settings.names,
        present=surroundings.present,
    )
    beside.stop()
    if successor is not None:
        successor.take_over()
    sys.exit(status)


def _chosen(queues: tuple[str, ...], known: set[str]) -> list[str]:
    """Queues to take from."""
    unknown = sorted(set(queues) - known)
    if unknown:
        hint = f"there are {', '.join(sorted(known))}"
        raise UsageError(f"no policy has the queue {unknown[0]}", hint=hint)
    return sorted(set(queues) or known)
