from __future__ import annotations

import time
from datetime import datetime, timedelta

import h5py
import pytest

from vh5d.capture.capture import capture
from vh5d.cli.status_text import text
from vh5d.errors import PolicyError, UsageError
from vh5d.policy import default_config
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import FileStat, State
from vh5d.service.running.state import Description, describe, directory_for, hold
from vh5d.service.telling import survey
from vh5d.service.telling.notices import Notices
from vh5d.service.telling.report import MOST_RECENT, find_service, report


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    return path


def write(path, value=1):
    with h5py.File(path, "w") as file:
        file["x"] = value


def run_at(state, broker, root):
    held = hold(state / "lock", "")
    describe(state, Description(1, broker, [str(root)], None, 0.0))
    return held


def test_without_a_service_the_stores_tell(root):
    policy = default_config([root]).policies[0]
    for name in ("current", "changed"):
        write(root / f"{name}.h5")
        capture(root / f"{name}.h5", policy.store_for(root / f"{name}.h5"))
    write(root / "changed.h5", [1, 2, 3])
    write(root / "new.h5")
    policy.store_for(root / "new.h5").with_name("broken.h5").write_bytes(b"x")
    write(root / "broken.h5")
    found = report(find_service([root], None, None))
    assert found["running"] is False
    assert found["queue"] == {}
    states = {source["path"].split("/")[-1]: source["state"] for source in found["sources"]}
    assert states == {
        "broken.h5": "failed",
        "changed.h5": "changed",
        "current.h5": "current",
        "new.h5": "unversioned",
    }
    assert next(s for s in found["sources"] if "current" in s["path"])["version"] == "v1"


def test_a_running_service_is_found_by_its_directory(root, broker, catalog):
    catalog.sightings.settling([(root / "a.h5", "default")])
    held = run_at(directory_for(root), broker.url, root)
    found = report(find_service([root], None, None))
    held.release()
    assert found["running"] is True
    assert [source["state"] for source in found["sources"]] == ["settling"]
    assert found["queue"] == {"waiting": 0, "running": 0}


def test_the_only_running_service_needs_no_name(root, broker, catalog):
    held = run_at(directory_for(root), broker.url, root)
    assert report(find_service([], None, None))["running"] is True
    held.release()


def test_one_of_two_running_services_has_to_be_named(root, broker, tmp_path):
    (tmp_path / "other").mkdir()
    locks = [run_at(directory_for(path), broker.url, path) for path in (root, tmp_path / "other")]
    with pytest.raises(UsageError, match=r"2 services run here, of .*; name a directory"):
        find_service([], None, None)
    for held in locks:
        held.release()


def test_a_directory_that_went_away_is_shown_as_its_service_sees_it(root, broker):
    held = run_at(directory_for(root), broker.url, root)
    root.rmdir()
    assert report(find_service([root], None, None))["running"] is True
    held.release()
    assert report(find_service([root], None, None))["sources"] == []


def test_settings_that_were_refused_are_said_once(root, broker, redis_client):
    Notices(redis_client).tell("/etc/vh5d.yaml", "line 3: no")
    held = run_at(directory_for(root), broker.url, root)
    lines = text(report(find_service([root], None, None))).splitlines()
    held.release()
    (said,) = [line for line in lines if "/etc/vh5d.yaml" in line]
    assert said.endswith("the settings before are in force: line 3: no")


def test_a_service_that_was_killed_does_not_run(root, tmp_path):
    state = tmp_path / "state"
    run_at(state, "unix:///nobody", root).release()
    assert report(find_service([], None, state))["running"] is False


def test_a_service_whose_broker_is_away_is_shown_from_the_stores(root, tmp_path):
    state = tmp_path / "state"
    held = run_at(state, f"unix://{tmp_path}/nobody", root)
    write(root / "a.h5")
    found = report(find_service([], None, state))
    held.release()
    assert found["running"] is True
    assert "does not answer" in found["broker"]
    assert found["roots"] == []
    assert [source["state"] for source in found["sources"]] == ["unversioned"]


def test_how_well_roots_are_seen_is_shown(root, broker, redis_client):
    now = time.time()
    for at, host, health in ((-200, "a", "events"), (0, "a", "polling"), (-100, "b", "events")):
        catalog = Catalog(redis_client, lambda at=at: now + at)
        told = {"path": str(root), "health": health, "reason": None, "host": host}
        catalog.sightings.tell_roots(f"{host}:{at}", [told])
    held = run_at(directory_for(root), broker.url, root)
    found = report(find_service([root], None, None))
    held.release()
    assert [(each["host"], each["health"]) for each in found["roots"]] == [
        ("a", "polling"),
        ("b", "blind"),
    ]
    assert "not heard of for 100 s" in found["roots"][1]["reason"]
    assert found["broker"] == "answers"


def test_what_cannot_be_meant_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        find_service([tmp_path / "nowhere"], None, None)
    with pytest.raises(UsageError, match="empty: no service has had this state directory"):
        find_service([], None, tmp_path / "empty")
    with pytest.raises(UsageError, match="no service runs here; name a directory"):
        find_service([], None, None)
    with pytest.raises(PolicyError):
        find_service([], tmp_path / "none.yaml", None)


def test_each_policy_says_how_it_does(root, broker, redis_client):
    catalog = Catalog(redis_client)
    for name in ("good", "bad", "waiting"):
        catalog.claims.take(root / name, "default", "change", name)
    before = catalog.captures.started(root / "good", "default")
    stat = FileStat(size=1000, mtime_ns=1, inode=2, device=3)
    catalog.captures.captured(
        root / "good", stat, state=State.CURRENT, before=before, changed=True, bytes_added=10
    )
    before = catalog.captures.started(root / "bad", "default")
    catalog.captures.postponed(
        root / "bad", 60, "no room", state=State.FAILED, attempts=2, busy=0, before=before
    )
    held = run_at(directory_for(root), broker.url, root)
    found = report(find_service([root], None, None))
    held.release()
    (policy,) = found["policies"]
    assert (policy["files"], policy["backlog"], policy["versions_today"]) == (3, 1, 1)
    assert policy["states"] == {"current": 1, "failed": 1, "queued": 1}
    assert 0 <= policy["lag_p50"] <= policy["lag_p99"] < 60
    assert 0 <= policy["oldest_waiting"] < 60
    assert (policy["source_bytes"], policy["stored_bytes"]) == (1000, 10)
    assert datetime.fromisoformat(policy["last_change"]).utcoffset() == timedelta(0)
    (failure,) = found["failures"]
    assert (failure["error"], failure["attempts"]) == ("no room", 2)
    assert failure["next_try"].endswith("+00:00")
    shown = text(found)
    assert "no room; next try at " in shown
    assert "versions of 1000 B in 10 B: 99% saved" in shown
    assert "3 files, 0 waiting" in shown


def test_of_many_files_those_that_need_attention_are_listed(
    root, broker, redis_client, monkeypatch
):
    monkeypatch.setattr(survey, "BATCH", 300)
    catalog = Catalog(redis_client)
    paths = [root / f"{number:04}.h5" for number in range(2000)]
    catalog.sightings.settling([(path, "default") for path in paths])
    catalog.captures.postponed(paths[7], 60, "bad", state=State.FAILED, attempts=1, busy=0)
    catalog.sightings.settling([(path, "default") for path in paths[100:]])
    held = run_at(directory_for(root), broker.url, root)
    found = report(find_service([root], None, None), everything=False)
    complete = report(find_service([root], None, None))
    held.release()
    listed = [source["path"] for source in found["sources"]]
    assert listed == [str(paths[7]), *map(str, reversed(paths[-MOST_RECENT:]))]
    assert "21 of 2,000 files listed (all: --all): 1 failed, 1,999 settling" in text(found)
    assert [source["path"] for source in complete["sources"]] == list(map(str, paths))
    assert complete["sources"][7]["error"] == "bad"
