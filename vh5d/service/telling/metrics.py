"""Metrics for Prometheus: what the catalog counted, read when somebody asks.

The counters are in Redis, added to by every worker on every host, so that one exporter tells of
all of them; it may run anywhere, and start anew at any time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from urllib.parse import urlsplit

import redis
import structlog
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import vh5d
from vh5d.errors import ServiceError
from vh5d.policy import Config
from vh5d.service.capturing.quota import Quota
from vh5d.service.catalog import statistics
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.roster import Kind
from vh5d.service.catalog.source import State
from vh5d.service.catalog.statistics import BOUNDS, Figures, Histogram
from vh5d.service.telling import outbox
from vh5d.service.telling.report import seen_roots
from vh5d.service.telling.survey import Survey, survey
from vh5d.service.watching.sight import Sight

log = structlog.stdlib.get_logger(__name__)

_NAMES = ("policy",)
_ROLES: tuple[tuple[str, Kind], ...] = (("watcher", "watchers"), ("worker", "workers"))
_ADDRESS = "say another HOST:PORT, such as 127.0.0.1:9464"


class ServiceCollector(Collector):
    """Reads the catalog at each scrape; a broker that is away makes `vh5d_broker_up` 0.

    Parameters
    ----------
    config
        Returns the settings of now: whose policies to tell of.
    """

    def __init__(self, catalog: Catalog, config: Callable[[], Config]) -> None:
        self._catalog = catalog
        self._config = config

    def describe(self) -> list[Metric]:
        """Say nothing before the first scrape: the broker may not be there yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        began = time.monotonic()
        info = GaugeMetricFamily("vh5d_build_info", "Always 1.", labels=("version",))
        info.add_metric((vh5d.__version__,), 1)
        yield info
        try:
            found = list(self._of_catalog())
        except redis.RedisError:
            found = []
        yield _one("vh5d_broker_up", "Whether the broker answers.", bool(found))
        yield from found
        seconds = time.monotonic() - began
        yield _one("vh5d_scrape_seconds", "How long it took to collect these.", seconds)

    def _of_catalog(self) -> Iterator[Metric]:
        catalog = self._catalog
        client, now = catalog.client, catalog.now()
        policies = [policy.name for policy in self._config().policies]
        moment = datetime.fromtimestamp(now).astimezone()
        figures = {name: statistics.read(client, name, moment) for name in policies}
        yield from _of_captures(figures)
        yield from _of_sources(survey(client), policies, now)
        queue = catalog.queue()
        yield _one("vh5d_queue_waiting", "Captures that wait for a worker.", queue["waiting"])
        yield _one("vh5d_queue_running", "Captures that a worker has.", queue["running"])
        yield from _quotas(catalog, self._config())
        yield _roots(catalog, now)
        yield _members(catalog)
        yield from _of_messages(client, policies)


def _of_captures(figures: dict[str, Figures]) -> Iterator[Metric]:
    captures = CounterMetricFamily(
        "vh5d_captures",
        "Attempts to capture a file, by how they ended.",
        labels=("policy", "outcome"),
    )
    source = CounterMetricFamily(
        "vh5d_source_bytes", "Size of the files that versions were made of.", labels=_NAMES
    )
    stored = CounterMetricFamily(
        "vh5d_stored_bytes", "What stores took in for these versions.", labels=_NAMES
    )
    dropped = CounterMetricFamily(
        "vh5d_versions_dropped", "Versions that retention dropped.", labels=_NAMES
    )
    returned = CounterMetricFamily(
        "vh5d_returned_bytes", "Space that came back of dropped versions.", labels=_NAMES
    )
    success = GaugeMetricFamily(
        "vh5d_last_success_timestamp_seconds", "When a capture last went well.", labels=_NAMES
    )
    change = GaugeMetricFamily(
        "vh5d_last_version_timestamp_seconds", "When a version was last made.", labels=_NAMES
    )
    seconds = HistogramMetricFamily(
        "vh5d_capture_seconds", "How long captures took.", labels=_NAMES
    )
    lag = HistogramMetricFamily(
        "vh5d_lag_seconds", "From a file's coming to rest to its version.", labels=_NAMES
    )
    for name, found in figures.items():
        for outcome, number in found.captures.items():
            captures.add_metric((name, outcome), number)
        source.add_metric((name,), found.source_bytes)
        stored.add_metric((name,), found.stored_bytes)
        dropped.add_metric((name,), found.dropped)
        returned.add_metric((name,), found.returned_bytes)
        if found.last_success is not None:
            success.add_metric((name,), found.last_success)
        if found.last_change is not None:
            change.add_metric((name,), found.last_change)
        _add(seconds, name, found.seconds)
        _add(lag, name, found.lag)
    yield from (captures, source, stored, dropped, returned, success, change, seconds, lag)


def _of_sources(found: Survey, policies: list[str], now: float) -> Iterator[Metric]:
    states = GaugeMetricFamily("vh5d_sources", "Files, by state.", labels=("policy", "state"))
    backlog = GaugeMetricFamily(
        "vh5d_backlog", "Files that changed and are not captured yet.", labels=_NAMES
    )
    oldest = GaugeMetricFamily(
        "vh5d_oldest_waiting_seconds",
        "How long the capture waits that waits longest.",
        labels=_NAMES,
    )
    for name in policies:
        one = found.of(name)
        for state in State:
            states.add_metric((name, str(state)), one.states[state])
        backlog.add_metric((name,), one.backlog)
        since = one.waiting_since
        oldest.add_metric((name,), max(0.0, now - since) if since is not None else 0.0)
    yield from (states, backlog, oldest)


def _quotas(catalog: Catalog, config: Config) -> Iterator[Metric]:
    used = GaugeMetricFamily(
        "vh5d_store_bytes", "What the stores of a policy with a quota take.", labels=_NAMES
    )
    most = GaugeMetricFamily("vh5d_store_quota_bytes", "What they may take.", labels=_NAMES)
    quota = Quota(catalog.client, catalog.now)
    for policy in config.policies:
        taken = quota.last_used(policy.name)
        if policy.limits.store_quota is not None and taken is not None:
            used.add_metric((policy.name,), taken)
            most.add_metric((policy.name,), policy.limits.store_quota)
    yield from (used, most)


def _roots(catalog: Catalog, now: float) -> Metric:
    roots = GaugeMetricFamily(
        "vh5d_root_sight",
        "How a watched directory is seen: 1 for what holds.",
        labels=("root", "host", "sight"),
    )
    for root in seen_roots(catalog.sightings.roots(), now):
        for sight in Sight:
            roots.add_metric((root["path"], root["host"], str(sight)), root["health"] == sight)
    return roots


def _members(catalog: Catalog) -> Metric:
    members = GaugeMetricFamily(
        "vh5d_processes", "Watchers and workers, by host.", labels=("role", "host", "lost")
    )
    count: Counter[tuple[str, ...]] = Counter()
    for role, kind in _ROLES:
        for member in catalog.roster.members(kind):
            count[role, member["host"], str(member["lost"]).lower()] += 1
    for labels, number in count.items():
        members.add_metric(labels, number)
    return members


def _of_messages(client: redis.Redis, policies: list[str]) -> Iterator[Metric]:
    sent = CounterMetricFamily(
        "vh5d_messages",
        "Notifications and hooks, by how they ended.",
        labels=("policy", "kind", "result"),
    )
    for labels, number in outbox.counts(client).items():
        sent.add_metric(labels, number)
    yield sent
    waiting = outbox.waiting(client, policies)
    yield _one("vh5d_messages_waiting", "Notifications and hooks not dealt with yet.", waiting)


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _add(family: HistogramMetricFamily, policy: str, found: Histogram) -> None:
    total, buckets = 0, []
    for bound, number in zip((*map(str, BOUNDS), "+Inf"), found.counts, strict=True):
        total += number
        buckets.append((bound, total))
    family.add_metric((policy,), buckets, sum_value=found.total)


def _registry(catalog: Catalog, config: Callable[[], Config]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServiceCollector(catalog, config))
    return registry


def exposition(catalog: Catalog, config: Callable[[], Config]) -> str:
    """All metrics in Prometheus's text format."""
    return generate_latest(_registry(catalog, config)).decode()


class Exporter:
    """Serves the metrics over HTTP, in threads of its own.

    Parameters
    ----------
    listen
        `HOST:PORT`.

    Raises
    ------
    ServiceError
        Nobody can listen there.
    """

    def __init__(self, listen: str, catalog: Catalog, config: Callable[[], Config]) -> None:
        try:
            address = urlsplit(f"//{listen}")
            port = address.port
        except ValueError:
            raise ServiceError(f"metrics: {listen}: no address", hint=_ADDRESS) from None
        registry = _registry(catalog, config)
        try:
            self._server, self._thread = start_http_server(
                port or 0, address.hostname or "127.0.0.1", registry
            )
        except (OSError, OverflowError) as error:
            raise ServiceError(f"metrics: {listen}: {error}", hint=_ADDRESS) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def begin(listen: str | None, catalog: Catalog, config: Callable[[], Config]) -> Exporter | None:
    """Serve them, if that is wanted and can be: a service goes on without."""
    if listen is None:
        return None
    try:
        return Exporter(listen, catalog, config)
    except ServiceError as error:
        log.error("no metrics", error=str(error))  # noqa: TRY400 - the address is wrong, no code
        return None
