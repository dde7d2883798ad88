"""What an operator sees of a capture: log, events, hook, metrics; all of one service."""

from __future__ import annotations

import json
import socket
import stat
import sys
import urllib.request

import h5py
import pytest

from tests.support.service import run_vh5d
from tests.support.waiting import wait_for
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import FileStat, State
from vh5d.service.running.state import description_of


@pytest.fixture
def hook(tmp_path):
    """A program that notes what it is told."""
    program, notes = tmp_path / "hook", tmp_path / "notes"
    program.write_text(
        f"#!{sys.executable}\nimport os, shutil, sys\n"
        f"with open({str(notes)!r}, 'a') as notes: shutil.copyfileobj(sys.stdin, notes)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, notes


def test_one_id_follows_a_capture_all_the_way(data, make_up, hook):
    program, notes = hook
    up = make_up(hooks={"after_capture": [str(program)]}).start()
    path = data / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    (version,) = wait_for(lambda: up.said("version"), "the version")
    told = json.loads(wait_for(lambda: notes.exists() and notes.read_text(), "the hook"))
    process = run_vh5d("events", "--state", up.state, "--json")
    output, _ = process.communicate(timeout=60)
    capture = version["capture"]
    assert len(capture) == 16
    life = [record for record in up.records if record.get("capture") == capture]
    assert [record["event"] for record in life] == ["asked", "begun", "version"]
    assert [record["process"] for record in life] == ["watch", "worker", "worker"]
    assert {record["path"] for record in life} == {str(path)}
    assert capture in {json.loads(line).get("capture") for line in output.splitlines()}
    assert (told["capture"], told["path"], told["version"]) == (capture, str(path), "v1")
    assert up.stop() == 0


def test_metrics_are_served_and_what_was_given_up_is_tried_again(data, make_up):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    up = make_up()
    settings = json.loads(up.config.read_text())
    up.config.write_text(json.dumps({**settings, "metrics": listen}))
    up.start()
    path = data / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    wait_for(lambda: up.said("version"), "the version")

    def told() -> str:
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=30) as answer:
            return answer.read().decode()

    assert 'vh5d_captures_total{outcome="version",policy="test"} 1.0' in told()
    catalog = Catalog(connect(description_of(up.state).broker))
    catalog.captures.given_up(path, FileStat.of(path.stat()), "bad", state=State.FAILED)
    assert 'vh5d_sources{policy="test",state="failed"} 1.0' in told()
    process = run_vh5d("retry", path, "--state", up.state)
    output, errors = process.communicate(timeout=60)
    assert (output, errors) == (f"{path}: failed, is tried again (bad)\n", "")
    wait_for(lambda: catalog.source(path).state is State.CURRENT, "another attempt")
    assert up.said("unchanged")
    assert up.stop() == 0
