"""``vh5d worker``: captures from the queue, in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click


@click.command(name="worker", short_help="Only work: capture what is in the queue.")
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR…]")
@click.option("--config", type=click.Path(path_type=Path), help="Policies, instead of DIR.")
@click.option("--broker", metavar="URL", help="The queue, instead of the configuration's.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), help="Captures at a time (default: cores)."
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--parent", type=int, hidden=True)
def command(
    directories: tuple[Path, ...],
    config: Path | None,
    broker: str | None,
    concurrency: int | None,
    log_format: Literal["text", "json"],
    parent: int | None,
) -> None:
    """Capture the files that `vh5d watch` puts into the queue.

    For many machines, systemd or compose. SIGTERM: finish what is at work, then end.
    """
    from vh5d.cli._service import begin_role, chosen_broker, chosen_config
    from vh5d.service.tasks import run_worker

    begin_role(log_format, parent)
    settings = chosen_config(config, directories)
    url = chosen_broker(broker, settings)
    policies = {policy.name: policy for policy in settings.policies}
    sys.exit(run_worker(url, policies, concurrency=concurrency or settings.workers))
