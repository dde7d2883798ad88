"""How a service is doing: from its catalog while it runs, from the stores when it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from vh5d.errors import ServiceError, StoreError, UsageError
from vh5d.policy import Config, Policy, default_config, load_config
from vh5d.service.capturing.quota import Quota
from vh5d.service.catalog import statistics
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import Source
from vh5d.service.running.state import (
    Description,
    description_of,
    directory_for,
    is_running,
    known_states,
)
from vh5d.service.stores.upkeep import Upkeep
from vh5d.service.telling import outbox
from vh5d.service.telling.notices import refusals
from vh5d.service.telling.survey import Survey, newest, rows, survey
from vh5d.service.watching.sight import Sight

#: Seconds without a word after which a watcher counts as dead.
SILENT = 30.0
#: Sources that are listed when not all are: those with something wrong, and the last that changed.
MOST_FAILURES = 50
MOST_RECENT = 20

_SHOWN = (
    "path",
    "state",
    "version",
    "error",
    "policy",
    "store",
    "bytes_added",
    "seconds",
    "captured_at",
    "attempts",
    "next_try",
    "progress",
    "gone",
    "gone_at",
    "moved_to",
)
_NAMES = ("path", "store", "moved_to")


@dataclass(frozen=True)
class Service:
    """A service that is meant.

    Parameters
    ----------
    config
        Its settings.
    broker
        Its broker's URL, while it runs.
    """

    config: Config
    broker: str | None


def find_service(directories: Sequence[Path], config: Path | None, state: Path | None) -> Service:
    """The service of a state directory, a configuration or watched directories.

    Raises
    ------
    UsageError
        It is not clear which one is meant.
    """
    if config is not None:
        settings = load_config(config)
        if settings.broker != "embedded":
            return Service(settings, settings.broker)
        chosen = state or settings.state or directory_for(settings.policies[0].roots[0])
        return Service(settings, _broker_of(chosen))
    found = state or _state_of(directories)
    description = description_of(found) if found is not None else None
    if directories:
        missing = next((each for each in directories if not each.exists()), None)
        if missing is not None and description is None:
            raise UsageError(f"{missing} does not exist", hint="name a watched directory")
        settings = default_config([directory.absolute() for directory in directories])
        if found is not None and description is not None and description.config:
            settings = _settings_of(description, found)
    elif found is not None and description is not None:
        settings = _settings_of(description, found)
    else:
        raise _unclear(state)
    return Service(settings, _broker_of(found) if found is not None else None)


def running_service(
    directories: Sequence[Path],
    config: Path | None,
    state: Path | None,
    *,
    below: Sequence[str] = (),
) -> Catalog:
    """The catalog of a service that runs: of that which is named, or watches the files `below`.

    Raises
    ------
    UsageError
        It is not clear which one is meant.
    ServiceError
        It does not run.
    """
    if config is None and state is None and not directories:
        state = _state_above(below)
    service = find_service(directories, config, state)
    if service.broker is None:
        raise ServiceError("the service does not run", hint="start it: vh5d up")
    return Catalog(connect(service.broker), maps=service.config.names)


def report(service: Service, *, everything: bool = True) -> dict[str, Any]:
    """All that `vh5d status --json` prints.

    Parameters
    ----------
    everything
        List all sources; else those with something wrong and the last that changed, at most
        `MOST_FAILURES` and `MOST_RECENT`.
    """
    policies = [
        {"name": policy.name, "watch": list(policy.watch), "store": policy.store}
        for policy in service.config.policies
    ]
    common = {"running": service.broker is not None, "policies": policies}
    if service.broker is not None:
        try:
            return {**common, **_of_running(service.config, service.broker, everything)}
        except redis.RedisError as error:
            broker: str | None = f"does not answer: {error}"
    else:
        broker = None
    sources = list(_from_stores(service.config))
    nothing: dict[str, Any] = {"roots": [], "refused": [], "queue": {}}
    return {**common, **nothing, "broker": broker, "sources": sources}


def _of_running(config: Config, broker: str, everything: bool) -> dict[str, Any]:  # noqa: FBT001
    catalog = Catalog(connect(broker), maps=config.names)
    found = survey(catalog.client)
    now = datetime.fromtimestamp(catalog.now()).astimezone()
    count, bad = found.states.total(), list(map(catalog.local, found.bad))
    if everything or count <= MOST_FAILURES + MOST_RECENT:
        listed = sorted(rows(catalog.client, _SHOWN[1:]))
        sources = [_local(catalog, dict(zip(_SHOWN, values, strict=True))) for values in listed]
    else:
        recent = map(catalog.local, newest(catalog.client, MOST_RECENT))
        paths = [*bad[:MOST_FAILURES], *recent]
        sources = [_shown(source) for source in catalog.sources(dict.fromkeys(paths))]
    return {
        "at": _utc(now.timestamp()),
        "broker": "answers",
        "roots": seen_roots(catalog.sightings.roots(), now.timestamp()),
        "refused": refusals(catalog.client),
        "policies": [_policy(policy, catalog, found, now) for policy in config.policies],
        "states": dict(found.states),
        "failures": [_failure(source) for source in catalog.sources(bad[:MOST_FAILURES])],
        "workers": catalog.roster.members("workers"),
        "watchers": catalog.roster.members("watchers"),
        "messages_waiting": outbox.waiting(
            catalog.client, (policy.name for policy in config.policies)
        ),
        "sources": sources,
        "queue": catalog.queue(),
        "queues": catalog.queues(),
    }


def _policy(policy: Policy, catalog: Catalog, found: Survey, now: datetime) -> dict[str, Any]:
    figures = statistics.read(catalog.client, policy.name, now)
    survey = found.of(policy.name)
    since = survey.waiting_since
    upkeep = Upkeep(catalog.client, catalog.now).record(policy.name)
    return {
        "name": policy.name,
        "watch": list(policy.watch),
        "store": policy.store,
        "files": survey.states.total(),
        "states": dict(survey.states),
        "versions_today": figures.today,
        "lag_p50": figures.lag_at(0.5),
        "lag_p99": figures.lag_at(0.99),
        "backlog": survey.backlog,
        "oldest_waiting": max(0.0, now.timestamp() - since) if since is not None else None,
        "captures": figures.captures,
        "source_bytes": figures.source_bytes,
        "stored_bytes": figures.stored_bytes,
        "last_success": _utc(figures.last_success),
        "last_change": _utc(figures.last_change),
        "versions_dropped": figures.dropped,
        "maintained": _utc(upkeep.ended),
        "quota": policy.limits.store_quota,
        "quota_used": Quota(catalog.client, catalog.now).last_used(policy.name),
        "maintaining": upkeep.begun is not None and not upkeep.finished,
    }


def _local(catalog: Catalog, source: dict[str, Any]) -> dict[str, Any]:
    """A source with the names that this host has for its paths."""
    names = {name: catalog.local(source[name]) for name in _NAMES if source[name]}
    return source | names


def _failure(source: Source) -> dict[str, Any]:
    return {
        "path": source.path,
        "policy": source.policy,
        "state": source.state,
        "error": source.error,
        "attempts": source.attempts,
        "next_try": _utc(source.next_try),
    }


def _utc(at: float | None) -> str | None:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if at is not None else None


def seen_roots(told: list[dict[str, Any]], now: float) -> list[dict[str, Any]]:
    """What was said last of each root on each host."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for root in sorted(told, key=lambda root: float(root["at"])):
        newest[root["path"], root["host"]] = root
    shown = []
    for _, root in sorted(newest.items()):
        silent = now - float(root["at"])
        if silent > SILENT:
            reason = f"its watcher was not heard of for {silent:.0f} s"
            shown.append({**root, "health": str(Sight.BLIND), "reason": reason})
        else:
            shown.append(root)
    return shown


def _shown(source: Source) -> dict[str, Any]:
    return {name: getattr(source, name) for name in _SHOWN}


def _from_stores(config: Config) -> Iterator[dict[str, Any]]:
    from vh5d.service.watching.rescan import walk
    from vh5d.store.reader import open_store

    for policy in config.policies:
        for place in policy.watched:
            found = walk(
                place.path, config, recursive=place.recursive, entered=lambda _directory: None
            )
            for path, stat in sorted(found):
                store = policy.store_for(path)
                shown = dict.fromkeys(_SHOWN) | {"path": str(path), "policy": policy.name}
                shown |= {"store": str(store), "state": "unversioned"}
                if store.exists():
                    try:
                        with open_store(store) as reader:
                            last = reader.versions[-1] if reader.versions else None
                    except StoreError as error:
                        shown |= {"state": "failed", "error": str(error)}
                        last = None
                    if last is not None:
                        same = (last.source_size, last.source_mtime_ns) == (
                            stat.size,
                            stat.mtime_ns,
                        )
                        shown |= {
                            "version": last.name,
                            "bytes_added": last.bytes_added,
                            "captured_at": last.timestamp.timestamp(),
                            "state": "current" if same else "changed" if stat.size else "emptied",
                        }
                yield shown


def _state_of(directories: Sequence[Path]) -> Path | None:
    """The state directory of the service that watches these directories; of the only one."""
    states = {state: description_of(state) for state in known_states()}
    if not directories:
        running = [state for state in states if is_running(state)] or list(states)
        return running[0] if len(running) == 1 else None
    wanted = {os.path.realpath(directory) for directory in directories}
    for state, description in states.items():
        watched = {os.path.realpath(each) for each in description.watch} if description else set()
        if wanted <= watched and is_running(state):
            return state
    return directory_for(directories[0])


def _unclear(state: Path | None) -> UsageError:
    """Why it cannot be told which service is meant."""
    if state is not None:
        return UsageError(f"{state}: no service has had this state directory", hint="check --state")
    running = [state for state in known_states() if is_running(state)]
    watched = [
        ", ".join(description.watch)
        for description in map(description_of, running)
        if description is not None
    ]
    if len(watched) > 1:
        return UsageError(
            f"{len(watched)} services run here, of {'; of '.join(watched)}",
            hint="name a directory, --config or --state",
        )
    return UsageError("no service runs here", hint="name a directory, --config or --state")


def _state_above(files: Sequence[str]) -> Path | None:
    """The state directory of the service that watches a directory above all these files."""
    for state in known_states():
        description = description_of(state)
        watched = description.watch if description is not None and is_running(state) else ()
        above = tuple(f"{directory.rstrip('/')}/" for directory in watched)
        if files and all(file.startswith(above) for file in files):
            return state
    return None


def _settings_of(description: Description, state: Path) -> Config:
    if description.settings is not None and is_running(state):
        return Config.model_validate(description.settings)
    if description.config:
        return load_config(Path(description.config))
    return default_config([Path(each) for each in description.watch])


def _broker_of(state: Path) -> str | None:
    description = description_of(state)
    return description.broker if description is not None and is_running(state) else None
