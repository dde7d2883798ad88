"""What Prometheus is told, and that rules, dashboard and page ask for nothing else."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.service.test_herald import capture, fail
from vh5d.errors import ServiceError
from vh5d.policy import Config, Policy
from vh5d.service.capturing.quota import Quota
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.telling import metrics, outbox
from vh5d.service.telling.metrics import Exporter, exposition

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    (tmp_path / "data").mkdir()
    limits = {"store_quota": "1GB"}
    return Config(policies=(Policy(name="p", watch=(str(tmp_path / "data"),), limits=limits),))


@pytest.fixture
def catalog(redis_client):
    return Catalog(redis_client)


def read(text):
    """Samples by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_was_counted_is_told(catalog, config):
    capture(catalog, Path("/d/a.h5"), bytes_added=10, seconds=0.2)
    capture(catalog, Path("/d/b.h5"), changed=False, seconds=0.02)
    fail(catalog, Path("/d/c.h5"))
    catalog.claims.take(Path("/d/e.h5"), "p", "change")
    catalog.sightings.tell_roots(
        "h:1", [{"path": "/d", "health": "gone", "reason": None, "host": "h"}]
    )
    found = read(exposition(catalog, lambda: config))
    p = ("policy", "p")
    assert found["vh5d_captures_total", ("outcome", "version"), p] == 1
    assert found["vh5d_captures_total", ("outcome", "unchanged"), p] == 1
    assert found["vh5d_captures_total", ("outcome", "failed"), p] == 1
    assert found["vh5d_source_bytes_total", p] == 1000
    assert found["vh5d_stored_bytes_total", p] == 10
    assert found["vh5d_capture_seconds_count", p] == 2
    assert found["vh5d_capture_seconds_sum", p] == pytest.approx(0.22)
    assert found["vh5d_capture_seconds_bucket", ("le", "0.025"), p] == 1
    assert found["vh5d_capture_seconds_bucket", ("le", "+Inf"), p] == 2
    assert found["vh5d_lag_seconds_count", p] == 1
    assert found["vh5d_sources", p, ("state", "failed")] == 1
    assert found["vh5d_sources", p, ("state", "missing")] == 0
    assert found["vh5d_backlog", p] == 1
    assert 0 <= found["vh5d_oldest_waiting_seconds", p] < 60
    assert found["vh5d_root_sight", ("host", "h"), ("root", "/d"), ("sight", "gone")] == 1
    assert found["vh5d_root_sight", ("host", "h"), ("root", "/d"), ("sight", "events")] == 0
    assert found["vh5d_last_success_timestamp_seconds", p] > 1e9
    assert found["vh5d_broker_up",] == 1


def test_a_broker_that_is_away_is_told_of(config, tmp_path):
    away = Catalog(connect(f"unix://{tmp_path}/nobody"))
    found = read(exposition(away, lambda: config))
    assert found["vh5d_broker_up",] == 0
    assert not any(name.startswith("vh5d_sources") for name, *_ in found)


def test_they_are_served_and_end(catalog, config):
    exporter = Exporter("127.0.0.1:0", catalog, lambda: config)
    url = f"http://127.0.0.1:{exporter.port}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert read(answer.read().decode())["vh5d_broker_up",] == 1
    exporter.stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)


def test_an_address_that_is_taken_keeps_nobody_from_going_on(catalog, config):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServiceError, match=r"Address already in use"):
            Exporter(listen, catalog, lambda: config)
        assert metrics.begin(listen, catalog, lambda: config) is None
    with pytest.raises(ServiceError, match="no address"):
        Exporter("127.0.0.1:http", catalog, lambda: config)


@pytest.fixture
def names(catalog, config, redis_client):
    """Of all that is ever told."""
    capture(catalog, seconds=0.1)
    catalog.sightings.tell_roots(
        "h:1", [{"path": "/d", "health": "gone", "reason": None, "host": "h"}]
    )
    Quota(redis_client, catalog.now).used(config.policies[0], fresh=True)
    catalog.roster.tell("workers", "h:2", {"host": "h"})
    box, letter = outbox.Outbox(redis_client), outbox.Letter("1", "p", "notify", "failed")
    box.done(letter, "sent")
    return {name for name, *_ in read(exposition(catalog, lambda: config))}


def used(text):
    return set(re.findall(r"\bvh5d_[a-z_]+", text))


def test_the_rules_ask_for_what_there_is(names):
    rules = yaml.safe_load((ROOT / "config/prometheus/alerts.yml").read_text())
    found = [rule for group in rules["groups"] for rule in group["rules"]]
    assert {name for rule in found for name in used(rule["expr"])} <= names
    assert all(rule["annotations"]["summary"] for rule in found)
    scraped = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text())
    assert scraped["rule_files"] == ["alerts.yml"]
    page = (ROOT / "docs/operations.md").read_text()
    assert all(f"`{rule['alert']}`" in page for rule in found)


def test_the_dashboard_shows_what_there_is(names):
    dashboard = json.loads((ROOT / "config/grafana/vh5d.json").read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    assert {name for each in expressions for name in used(each)} <= names
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24


def test_the_page_lists_all_of_them(names):
    table = (ROOT / "docs/operations.md").read_text()
    documented = set(re.findall(r"^\| `(vh5d_[a-z_]+)", table, re.MULTILINE))
    base = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}
    assert documented == base
