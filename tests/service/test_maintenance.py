"""Rounds of maintenance: every store of a policy is thinned, once, and captures go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import h5py
import numpy as np
import pytest

from tests.support.service import run_vh5d
from tests.support.waiting import wait_for
from vh5d.capture.capture import capture
from vh5d.errors import StoreBusyError
from vh5d.hdf5.disk import Disk
from vh5d.policy import Config
from vh5d.service.running.state import Description, describe, directory_for, hold
from vh5d.service.stores import maintenance
from vh5d.service.stores.maintainer import Maintainer, starter
from vh5d.service.stores.maintenance import Round
from vh5d.service.stores.upkeep import Upkeep
from vh5d.store.reader import open_store
from vh5d.store.transaction import begin
from vh5d.store.verify import verify

START = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two stores of six versions, an hour apart; a megabyte each."""
    directory = tmp_path_factory.mktemp("made")
    stores = directory / ".vh5d"
    stores.mkdir()
    for i in range(6):
        with h5py.File(directory / "run.h5", "w") as file:
            file["x"] = np.random.default_rng(i).integers(0, 255, 1 << 20, np.uint8)
        when = START + timedelta(hours=i)
        capture(directory / "run.h5", stores / "run.h5", clock=lambda when=when: when)
    shutil.copyfile(stores / "run.h5", stores / "other.h5")
    return directory


@pytest.fixture
def lab(made, tmp_path):
    shutil.copytree(made, tmp_path / "lab")
    return tmp_path / "lab"


@pytest.fixture
def config(lab):
    policy = {"name": "lab", "watch": str(lab), "retention": {"keep_last": 2}}
    return Config.model_validate({"policies": [policy], "maintenance": "02:30"})


@pytest.fixture
def work(catalog):
    return Round(catalog, lambda: START + timedelta(days=1))


def names(store):
    with open_store(store) as reader:
        return [version.name for version in reader.versions]


def events(catalog):
    return [event for _, event in catalog.events()]


def test_a_round_thins_all_stores_and_says_so(lab, config, catalog, work):
    record = work.run(config.policies[0], 500.0)
    assert (record.stores, record.dropped, record.failed) == (2, 8, 0)
    assert record.bytes_returned > 7 << 20
    assert record.finished
    assert work.upkeep.record("lab") == record
    for store in ("run.h5", "other.h5"):
        assert names(lab / ".vh5d" / store) == ["v5", "v6"]
    told = events(catalog)
    assert [each["event"] for each in told] == ["thinned", "thinned", "maintained"]
    assert told[0]["names"] == ["v1", "v2", "v3", "v4"]
    assert told[2]["versions"] == 8
    assert work.run(config.policies[0], 500.0).dropped == 0


def test_one_host_does_it(config, catalog, work):
    with work.upkeep.lease("lab"):
        assert work.run(config.policies[0], 500.0) is None
    assert events(catalog) == []


def test_stores_that_are_not_here_are_left_to_others(lab, config, catalog, work):
    shutil.rmtree(lab / ".vh5d")
    assert work.run(config.policies[0], 500.0) is None
    assert work.upkeep.record("lab").wants_round(500.0, 600.0)


def test_a_store_that_is_in_use_comes_last(lab, config, catalog, work, monkeypatch):
    monkeypatch.setattr(maintenance, "PATIENCE", (0.05, 0.1))
    with begin(lab / ".vh5d/other.h5", create=False):
        record = work.run(config.policies[0], 500.0)
    assert (record.stores, record.failed) == (1, 1)
    assert names(lab / ".vh5d/run.h5") == ["v5", "v6"]
    assert len(names(lab / ".vh5d/other.h5")) == 6
    assert [each["event"] for each in events(catalog)] == ["thinned", "not thinned", "maintained"]


def test_what_is_no_store_or_is_damaged_keeps_nothing_else(lab, config, catalog, work):
    (lab / ".vh5d/notes.h5").write_text("none")
    with (lab / ".vh5d/other.h5").open("r+b") as file:
        file.truncate(5000)
    record = work.run(config.policies[0], 500.0)
    assert (record.stores, record.failed) == (1, 1)
    assert names(lab / ".vh5d/run.h5") == ["v5", "v6"]


def test_a_round_that_is_halted_is_not_finished(lab, config, catalog):
    answers = iter([False, True, True])
    record = Round(catalog, lambda: START, halted=lambda: next(answers)).run(
        config.policies[0], 500.0
    )
    assert record.stores == 1
    assert not Upkeep(catalog.client, catalog.now).record("lab").finished


class WithoutHoles(Disk):
    """A file system that cannot punch holes."""

    def punch(self, fd, offset, nbytes):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_where_there_are_no_holes_a_store_is_rewritten(lab, config, catalog):
    store = lab / ".vh5d/run.h5"
    before = store.stat().st_size
    record = Round(catalog, lambda: START, disk=WithoutHoles()).run(config.policies[0], 500.0)
    assert record.bytes_returned > 7 << 20
    assert store.stat().st_size < before / 2
    assert verify(store).ok
    assert names(store) == ["v5", "v6"]


def test_a_store_is_not_rewritten_for_little(lab, config, catalog):
    store = lab / ".vh5d/run.h5"
    policy = config.policies[0].model_copy(
        update={"retention": config.policies[0].retention.model_copy(update={"keep_last": 5})}
    )
    before = store.stat().st_ino
    Round(catalog, lambda: START, disk=WithoutHoles()).run(policy, 500.0)
    assert names(store) == ["v2", "v3", "v4", "v5", "v6"]
    assert store.stat().st_ino == before


def test_a_store_in_small_pieces_is_rewritten(lab, config, work, monkeypatch):
    """Holes are of whole blocks: little of many small versions comes back by them."""
    monkeypatch.setattr(maintenance, "LEAST_RETURNED", 1 << 14)
    source, store = lab / "small.h5", lab / ".vh5d/small.h5"
    with h5py.File(source, "w") as file:
        file.create_dataset("x", (8, 1000), "u1", chunks=(1, 1000))
    for i in range(16):
        with h5py.File(source, "r+") as file:
            file["x"][i % 8] = np.random.default_rng(i).integers(0, 255, 1000, np.uint8)
        when = START + timedelta(hours=i)
        capture(source, store, clock=lambda when=when: when)
    before = store.stat()
    work.run(config.policies[0], 500.0)
    assert store.stat().st_ino != before.st_ino
    assert store.stat().st_blocks < before.st_blocks / 2
    assert names(store) == ["v15", "v16"]
    assert verify(store).ok


def test_captures_of_other_stores_go_on(lab, config, catalog, monkeypatch):
    """While one store is locked, another is captured to."""
    done = []

    def thin(store, *arguments, **options):
        with begin(store, create=False):
            source = lab / "run.h5"
            other = lab / ".vh5d" / ("run.h5" if store.name == "other.h5" else "other.h5")
            with h5py.File(source, "a") as file:
                file[f"more{len(done)}"] = 1
            done.append(capture(source, other).version)
        raise StoreBusyError("as if")

    monkeypatch.setattr(maintenance, "thin", thin)
    monkeypatch.setattr(maintenance, "PATIENCE", (0.05,))
    Round(catalog, lambda: START).run(config.policies[0], 500.0)
    assert done == ["v7", "v7"]


def test_a_store_is_thinned_by_the_policy_that_keeps_it(lab, catalog):
    """Although the other would put its stores there as well."""
    places = {
        "outer": (lab, f"{lab}/all/{{path}}"),
        "inner": (lab / "sub", f"{lab}/all/b/{{path}}"),
    }
    inner, outer = Config.model_validate(
        {
            "policies": [
                {"name": name, "watch": str(places[name][0]), "store": places[name][1]}
                | {"retention": {"keep_last": last}}
                for name, last in (("inner", 3), ("outer", 1))
            ]
        }
    ).policies
    (lab / "sub").mkdir()
    for i in range(4):
        for source in (lab / "sub/x.h5", lab / "x.h5"):
            with h5py.File(source, "w") as file:
                file["x"] = i
            policy = inner if source.parent.name == "sub" else outer
            capture(source, policy.store_for(source), clock=lambda i=i: START + timedelta(hours=i))
    assert outer.is_store(lab / "all/b/x.h5")
    work = Round(catalog, lambda: START + timedelta(days=1), (inner, outer))
    assert work.run(outer, 500.0).stores == 1
    assert len(names(lab / "all/b/x.h5")) == 4
    assert names(lab / "all/x.h5") == ["v4"]
    assert work.run(inner, 500.0).stores == 1
    assert names(lab / "all/b/x.h5") == ["v2", "v3", "v4"]


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_round_by_hand(lab, broker, catalog, tmp_path, style):
    path = tmp_path / "vh5d.yaml"
    path.write_text(
        f"maintenance: off\n"
        f"policies:\n"
        f"  - {{name: lab, watch: {lab}, retention: {{keep_last: 2}}}}\n"
        f"  - {{name: rest, watch: {tmp_path}/rest}}\n"
    )
    more = ["--json"] if style == "json" else []
    process = run_vh5d("maintain", "--config", path, "--broker", broker.url, *more)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    if style == "json":
        said = json.loads(output)
        assert (said["policy"], said["round"]["dropped"], said["round"]["due"]) == ("lab", 8, None)
    else:
        assert output.startswith("lab: 2 stores, 8 versions dropped, ")
        assert "thinned" in errors


def test_a_round_by_hand_uses_the_private_broker_of_a_service_that_runs(
    lab, broker, catalog, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    path = tmp_path / "vh5d.yaml"
    path.write_text(f"policies: [{{name: lab, watch: {lab}, retention: {{keep_last: 2}}}}]\n")
    output, errors = run_vh5d("maintain", "--config", path).communicate(timeout=60)
    assert "start the service, or do without: vh5d prune --by-policy" in errors
    state = directory_for(lab)
    held = hold(state / "lock", "")
    describe(state, Description(1, broker.url, [str(lab)], str(path), 0.0))
    output, errors = run_vh5d("maintain", lab).communicate(timeout=60)
    assert output.startswith("lab: 2 stores, 8 versions dropped, "), errors
    output, errors = run_vh5d("maintain").communicate(timeout=60)
    held.release()
    assert output.startswith("lab: 2 stores, 0 versions dropped, "), errors


class TestMaintainer:
    def test_each_night_has_a_round(self, config, redis_client, clock):
        when = [datetime(2026, 3, 2, 12, tzinfo=UTC)]
        clock.now = when[0].timestamp()
        upkeep = Upkeep(redis_client, clock)
        maintainer = Maintainer(config, upkeep, lambda _policies: None, present=lambda: when[0])
        assert maintainer.due() == ["lab"]
        with upkeep.lease("lab"):
            assert maintainer.due() == []  # another host is at it

    def test_a_round_is_a_process_that_thins(self, lab, config, broker, redis_client, tmp_path):
        path = tmp_path / "vh5d.yaml"
        path.write_text(
            f"maintenance: '02:30'\npolicies:\n"
            f"  - {{name: lab, watch: {lab}, retention: {{keep_last: 2}}}}\n"
        )
        start = starter(broker.url, ["--config", str(path)])
        upkeep = Upkeep(redis_client, time.time)
        maintainer = Maintainer(config, upkeep, start)
        maintainer.step()
        wait_for(lambda: upkeep.record("lab").finished, "the round", 60)
        assert upkeep.record("lab").dropped == 8
        assert names(lab / ".vh5d/run.h5") == ["v5", "v6"]
        assert maintainer.due() == []
        maintainer.stop()

    def test_stores_that_are_not_here_begin_no_round(self, lab, config, redis_client, clock):
        maintainer = Maintainer(config, Upkeep(redis_client, clock), lambda _policies: None)
        assert maintainer.due() == ["lab"]
        shutil.rmtree(lab / ".vh5d")
        assert maintainer.due() == []

    def test_a_round_that_fails_is_not_begun_again_at_once(self, config, redis_client, clock):
        begun = []

        def start(policies):
            begun.append(policies)
            return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

        maintainer = Maintainer(config, Upkeep(redis_client, clock), start)
        maintainer.step()
        maintainer._round.wait()
        maintainer.step()
        maintainer.step()
        assert begun == [["lab"]]

    def test_of_two_hosts_one_does_it(self, lab, broker, catalog, tmp_path):
        path = tmp_path / "vh5d.yaml"
        path.write_text(f"policies: [{{name: lab, watch: {lab}, retention: {{keep_last: 2}}}}]")
        start = starter(broker.url, ["--config", str(path)])
        both = [start(["lab"]), start(["lab"])]
        assert [each.wait(60) for each in both] == [0, 0]
        told = [each["event"] for each in events(catalog)]
        assert sorted(told) == ["maintained", "thinned", "thinned"]

    def test_a_round_that_is_killed_is_done_again(self, lab, config, broker, catalog, tmp_path):
        stores = [lab / f".vh5d/copy{i}.h5" for i in range(12)]
        for store in stores:
            shutil.copyfile(lab / ".vh5d/run.h5", store)
        path = tmp_path / "vh5d.yaml"
        path.write_text(f"policies: [{{name: lab, watch: {lab}, retention: {{keep_last: 2}}}}]")
        start = starter(broker.url, ["--config", str(path)])
        upkeep = Upkeep(catalog.client, time.time)
        process = start(["lab"])
        wait_for(lambda: any(e["event"] == "thinned" for e in events(catalog)), "a store", 60)
        process.kill()
        process.wait()
        for store in stores:
            assert len(names(store)) in {2, 6}
            assert verify(store).ok
        assert not upkeep.record("lab").finished
        assert Maintainer(config, upkeep, start).due() == []  # until its lease ends
        catalog.client.delete("vh5d:upkeep:lease:lab")
        assert Maintainer(config, upkeep, start).due() == ["lab"]
        assert start(["lab"]).wait(60) == 0
        assert upkeep.record("lab").attempts == 2
        assert all(len(names(store)) == 2 for store in stores)

    def test_nothing_to_keep_is_nothing_to_do(self, lab, redis_client, clock):
        config = Config.model_validate({"policies": [{"name": "lab", "watch": str(lab)}]})
        maintainer = Maintainer(config, Upkeep(redis_client, clock), lambda _policies: None)
        assert maintainer.due() == []
        maintainer.start()
        maintainer.stop()
