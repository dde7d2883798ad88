"""``vh5d metrics``: figures for Prometheus."""

from __future__ import annotations

import time
from pathlib import Path

import click

from vh5d.cli.options import DIRECTORY, Told, common
from vh5d.errors import ServiceError

#: Where OpenTelemetry's exporters for Prometheus listen, too.
DEFAULT = "127.0.0.1:9464"
#: Seconds within which a request to stop is heeded.
PAUSE = 0.2


@click.command(short_help="Serve figures to Prometheus.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help=f"Where; `metrics` of the configuration without it, or {DEFAULT}.",
)
@click.option("--print", "once", is_flag=True, help="Print them once instead.")
@common
@click.pass_context
def command(
    ctx: click.Context, directories: tuple[Path, ...], listen: str | None, once: bool
) -> None:
    """Serve metrics of a service at http://HOST:PORT/metrics until Ctrl-C or SIGTERM.

    One is enough for any number of machines with one broker. `vh5d up` serves them by itself when
    the configuration has `metrics`. The service is that of DIR, of --config or of --state.
    """
    from vh5d.cli._service import begin_role
    from vh5d.service.catalog.address import connect
    from vh5d.service.catalog.catalog import Catalog
    from vh5d.service.running.signals import StopRequests
    from vh5d.service.telling.metrics import Exporter, exposition
    from vh5d.service.telling.report import find_service

    told = Told.of(ctx)
    service = find_service(directories, told.config_file, told.state)
    if service.broker is None:
        raise ServiceError("the service does not run", hint="start it: vh5d up")
    catalog = Catalog(connect(service.broker))
    if once:
        click.echo(exposition(catalog, lambda: service.config), nl=False)
        return
    stop = StopRequests()
    stop.install()
    begin_role(told, None)
    exporter = Exporter(
        listen or service.config.metrics or DEFAULT, catalog, lambda: service.config
    )
    while not stop.is_set():
        time.sleep(PAUSE)
    exporter.stop()
