"""``vh5d watch``: the watcher alone, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.command(name="watch", short_help="Only watch: put captures into the queue.")
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR…]")
@click.option("--config", type=click.Path(path_type=Path), help="Policies, instead of DIR.")
@click.option("--broker", metavar="URL", help="The queue, instead of the configuration's.")
@click.option("--polling", is_flag=True, help="Look every second instead of using inotify.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--parent", type=int, hidden=True)
def command(
    directories: tuple[Path, ...],
    config: Path | None,
    broker: str | None,
    polling: bool,
    log_format: Literal["text", "json"],
    parent: int | None,
) -> None:
    """Watch, and put a capture into the queue whenever a file was changed and is at rest.

    For many machines, systemd or compose; `vh5d worker` takes from the queue.
    """
    from vh5d.cli._service import begin_role, chosen_broker, chosen_config
    from vh5d.service.catalog import Catalog, connect
    from vh5d.service.signals import StopRequests
    from vh5d.service.tasks import Queue, make_app
    from vh5d.service.watcher import Watcher

    stop = StopRequests()
    stop.install()
    begin_role(log_format, parent)
    settings = chosen_config(config, directories)
    url = chosen_broker(broker, settings)
    catalog = Catalog(connect(url))
    Watcher(settings, catalog, Queue(make_app(url), catalog), polling=polling).run(stop)
