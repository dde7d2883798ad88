"""What will bite is found where it really is: full and read-only disks, wrong brokers, limits."""

from __future__ import annotations

import json
import os
import socket
import stat
import time

import h5py
import numpy as np
import pytest

from tests.support.listeners import mail_server
from tests.support.mounts import mounted, needs_root, tmpfs
from tests.support.service import run_vh5d
from vh5d.policy import Config, Policy, load_config
from vh5d.service.catalog.address import connect
from vh5d.service.running.broker import Broker
from vh5d.service.telling.doctor import brokers, filters, machine, places, reach
from vh5d.service.telling.doctor.examination import examine
from vh5d.service.telling.doctor.finding import Finding


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def policy(root):
    return Policy(name="p", watch=(str(root),))


def bites(findings):
    return [finding for finding in findings if finding.level == "bites"]


def limits(directory, **values):
    given = {"user_watches": 100_000, "queued_events": 16_384, "user_instances": 128, **values}
    for name, value in given.items():
        (directory / f"max_{name}").write_text(f"{value}\n")
    return directory


def test_a_machine_as_most_are_has_nothing_that_bites(tmp_path):
    assert bites(machine.watches(1000, limits(tmp_path))) == []
    assert bites(machine.locale()) == []
    assert bites(machine.environment({})) == []
    assert bites(machine.time_zone({})) == []
    assert bites(machine.time_zone({"TZ": "Europe/Berlin"})) == []
    assert bites(machine.time_zone({"TZ": "CET-1CEST,M3.5.0,M10.5.0"})) == []
    assert "HDF5" in next(machine.versions()).message


def test_more_directories_than_watches_bite(tmp_path):
    (found,) = bites(machine.watches(90_000, limits(tmp_path)))
    assert "90,000 directories" in found.message
    assert "fs.inotify.max_user_watches=524288" in found.mend
    (found,) = bites(machine.watches(900_000, limits(tmp_path)))
    assert "max_user_watches=1800000" in found.mend
    assert bites(machine.watches(1, tmp_path / "nowhere"))


def test_a_time_zone_that_nobody_knows_bites():
    (found,) = bites(machine.time_zone({"TZ": "Europe/Atlantis"}))
    assert "all is in UTC" in found.message


def test_variables_of_hdf5_are_noted(tmp_path):
    variables = {"HDF5_USE_FILE_LOCKING": "FALSE", "HDF5_PLUGIN_PATH": str(tmp_path / "no")}
    found = list(machine.environment(variables))
    assert [finding.level for finding in found] == ["note", "note"]


def test_a_directory_that_is_not_there_bites(policy, root):
    assert bites(places.watched(policy, root)) == []
    root.rmdir()
    (found,) = bites(places.watched(policy, root))
    assert found.mend == f"mkdir -p {root}"


def test_what_is_not_followed_into_is_not_counted(root):
    for name in ("a/b", "c", "scratch/x", ".vh5d/stores"):
        (root / name).mkdir(parents=True)
    policy = Policy(name="p", watch=(str(root),), exclude=("**/scratch/**",))
    assert places.count_directories((policy,)) in {4, 5}
    polled = Policy(name="q", watch=(str(root),), observer="polling")
    assert places.count_directories((polled,)) == 0


def test_nothing_is_left_where_stores_go(policy, root):
    levels = {finding.level for finding in places.stores(policy)}
    assert "ok" in levels
    assert list(root.iterdir()) == []


def test_a_disk_without_room_bites(root):
    with tmpfs(root):
        policy = Policy(name="p", watch=(str(root),))
        (found,) = bites(places.stores(policy))
        assert "8 MiB are free" in found.message


def test_a_disk_that_is_read_only_bites(root):
    needs_root()
    with mounted("-t", "tmpfs", "-o", "ro", "tmpfs", root):
        found = bites(places.stores(Policy(name="p", watch=(str(root),))))[0]
    assert "Read-only file system" in found.message
    assert found.mend == f"sudo mount -o remount,rw {root}"


def test_a_group_that_is_not_there_bites(root):
    policy = Policy(name="p", watch=(str(root),), store_group="no-such-group")
    assert [found.check for found in bites(places.stores(policy))] == ["group no-such-group"]


def test_a_state_directory_of_somebody_else_bites(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 12345, 12345)
    assert "chown" in bites(places.state(tmp_path / "state"))[0].mend


@pytest.fixture
def server(tmp_path):
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


def test_a_broker_as_it_should_be(server):
    assert bites(brokers.examine(server.url, private=False)) == []
    assert bites(brokers.embedded()) == []


def test_a_broker_that_forgets_bites(server):
    client = connect(server.url)
    client.config_set("maxmemory", 1 << 30)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    found = list(brokers.examine(server.url, private=False))
    assert ["allkeys-lru" in each.message for each in bites(found)] == [True]
    assert any("nothing on disk" in each.message for each in found if each.level == "note")
    assert bites(brokers.examine(server.url, private=True)) == []


def test_a_broker_that_is_full_bites(server):
    client = connect(server.url)
    client.config_set("maxmemory", int(client.info()["used_memory"] * 1.1))
    assert "of its memory are used" in bites(brokers.examine(server.url, private=True))[0].message


def test_a_broker_that_does_not_answer_bites_without_its_password():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"redis://me:topsecret@127.0.0.1:{taken.getsockname()[1]}/0"
        (found,) = brokers.examine(url, private=False)
    assert found.level == "bites"
    assert "topsecret" not in f"{found.message}{found.mend}"


def test_a_clock_that_is_off_bites(server, monkeypatch):
    now = time.time
    monkeypatch.setattr(brokers.time, "time", lambda: now() + 90)
    (found,) = bites(brokers.examine(server.url, private=True))
    assert "its clock is 90.0 s behind this machine's" in found.message


def test_filters_that_nobody_has_are_noted(root):
    with h5py.File(root / "a.h5", "w") as file:
        pipeline = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        pipeline.set_chunk((10,))
        # Optional, so that the dataset can be made without the plugin.
        pipeline.set_filter(4711, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((10,))
        h5py.h5d.create(file.id, b"strange", h5py.h5t.NATIVE_INT32, space, pipeline)
        file["plain"] = np.arange(10)
    (root / "broken.h5").write_bytes(b"nothing")
    config = Config(policies=(Policy(name="p", watch=(str(root),)),))
    (found,) = filters.examine(config)
    assert "1 of 2 files use filter 4711" in found.message
    assert f"{root}/a.h5:/strange" in found.message
    assert found.level == "note"


def test_a_password_that_everybody_may_read_bites(root, tmp_path, server):
    client = connect(server.url)
    client.acl_setuser("me", enabled=True, passwords=["+secret"], categories=["+@all"], keys=["*"])
    file = tmp_path / "vh5d.yaml"
    url = server.url.replace("unix://", "unix://me:secret@")
    file.write_text(json.dumps({"broker": url, "policies": [{"watch": str(root)}]}))
    config = load_config(file)
    file.chmod(0o644)
    found = examine(config, file=file, state=None, broker=None)
    assert f"chmod o-r {file}" in {each.mend for each in bites(found)}
    file.chmod(0o600)
    found = examine(config, file=file, state=None, broker=None)
    assert f"chmod o-r {file}" not in {each.mend for each in found}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_programs_and_mail_servers_that_are_not_there_bite(root, tmp_path):
    def config(port):
        hooks = {"after_capture": ["/no/such/program"], "on_failure": ["/bin/true"]}
        policy = {"watch": str(root), "hooks": hooks, "notify": [{"mail": "a@example.org"}]}
        mail = {"server": "127.0.0.1", "port": port, "from": "b@example.org"}
        (tmp_path / "c.yaml").write_text(json.dumps({"mail": mail, "policies": [policy]}))
        return load_config(tmp_path / "c.yaml")

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        program, mail = bites(reach.examine(config(taken.getsockname()[1])))
    assert "/no/such/program is not there" in program.message
    assert "refused" in mail.message
    with mail_server() as server:
        assert len(bites(reach.examine(config(server.port)))) == 1


def run(*arguments):
    process = run_vh5d("doctor", *arguments)
    output, errors = process.communicate(timeout=60)
    assert errors == ""
    return process.returncode, output


def test_the_command_says_what_mends_it(root):
    code, output = run(root / "nowhere")
    assert code == 1
    assert f"mend: mkdir -p {root / 'nowhere'}" in output
    code, output = run(root / "nowhere", "--json")
    found = json.loads(output)
    assert (code, found["ok"]) == (1, False)
    assert set(found["findings"][0]) == set(Finding.__dataclass_fields__)
    code, output = run("--json")
    assert code == (not json.loads(output)["ok"])
