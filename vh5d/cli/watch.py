"""``vh5d watch``: the watcher alone, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from vh5d.cli.options import DIRECTORY, Told, common


@click.command(short_help="Only watch: put captures into the queue.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@click.option(
    "--broker",
    metavar="URL",
    envvar="VH5D_BROKER",
    help="The queue, instead of the configuration's; with a password, say it in VH5D_BROKER.",
)
@click.option("--polling", is_flag=True, help="Look every second instead of using inotify.")
@click.option("--parent", type=int, hidden=True)
@common
@click.pass_context
def command(
    ctx: click.Context,
    directories: tuple[Path, ...],
    broker: str | None,
    polling: bool,
    parent: int | None,
) -> None:
    """Watch, and put a capture into the queue whenever a file was changed and is at rest.

    For many machines, systemd or compose; `vh5d worker` takes from the queue.
    """
    from vh5d.cli._service import begin_role, chosen_broker, chosen_settings, successor_of
    from vh5d.service.capturing.tasks import Queue, make_app
    from vh5d.service.catalog.address import connect
    from vh5d.service.catalog.catalog import Catalog
    from vh5d.service.running.notify import Notifier
    from vh5d.service.running.pulse import LifeSigns
    from vh5d.service.running.signals import StopRequests
    from vh5d.service.telling import metrics
    from vh5d.service.telling.herald import Herald
    from vh5d.service.watching.watcher import Watcher

    told = Told.of(ctx)
    stop = StopRequests(reloads=told.config_file is not None and parent is None)
    stop.install()
    begin_role(told, parent)
    settings, reading = chosen_settings(told, directories)
    url = chosen_broker(broker, settings)
    catalog = Catalog(connect(url), maps=settings.names)
    watcher = Watcher(settings, catalog, Queue(make_app(url), catalog), polling=polling)
    # Below `vh5d up` that one tells, of all its processes together.
    notifier = Notifier() if parent is None else Notifier({})
    signs = LifeSigns(notifier, watcher.ailment)
    successor = successor_of(reading, url, stop, notifier) if parent is None else None
    herald = Herald(Catalog(connect(url)), lambda: settings)
    herald.start()
    if parent is None:
        metrics.begin(settings.metrics, Catalog(connect(url)), lambda: settings)
    watcher.run(stop, signs)
    herald.stop()
    signs.end()
    if successor is not None:
        successor.take_over()
