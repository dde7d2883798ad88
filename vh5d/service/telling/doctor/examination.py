"""All examinations, of a machine or of a service on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from vh5d.policy import Config
from vh5d.service.telling.doctor import brokers, filters, machine, places, reach
from vh5d.service.telling.doctor.finding import Finding, quoted


def examine(
    config: Config | None, *, file: Path | None, state: Path | None, broker: str | None
) -> Iterator[Finding]:
    """Look at everything.

    Parameters
    ----------
    config
        Of the service that is to run here; None: look at the machine alone.
    file
        Where it comes from.
    state
        Its state directory, if it has an embedded broker.
    broker
        Address of its broker, if that should answer.
    """
    yield from machine.versions()
    yield from machine.clock()
    yield from machine.time_zone()
    yield from machine.locale()
    yield from machine.environment()
    yield from machine.limits()
    count = places.count_directories(config.policies) if config is not None else 0
    yield from machine.watches(count)
    if config is None:
        return
    if file is not None:
        yield from _secrets(file, config)
    if state is not None:
        yield from places.state(state)
    if broker is not None:
        yield from brokers.examine(broker, private=state is not None)
    else:
        yield from brokers.embedded()
    for policy in config.policies:
        for root in policy.roots:
            yield from places.watched(policy, root)
        yield from places.stores(policy)
    yield from reach.examine(config)
    yield from filters.examine(config)


def _secrets(file: Path, config: Config) -> Iterator[Finding]:
    """Whether everybody may read a password."""
    open_to_all = file.stat().st_mode & 0o004
    text = file.read_text(errors="replace")
    written = urlsplit(config.broker).password if config.broker != "embedded" else None
    if open_to_all and written and written in text:
        message = "has a password in it, and everybody may read it"
        yield Finding(str(file), "bites", message, f"chmod o-r {quoted(file)}")
