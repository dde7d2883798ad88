"""The loop with real inotify and a real catalog; a list stands in for the workers."""

from __future__ import annotations

import threading
import time

import h5py
import pytest
import redis

from tests.support.waiting import wait_for
from vh5d.errors import BrokerError
from vh5d.policy import Config, Policy
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.records import BATCH, PREFIX
from vh5d.service.catalog.source import FileStat, State
from vh5d.service.running.signals import StopRequests
from vh5d.service.watching.watcher import Watcher


class Asked:
    """What was asked for; refuses while `down`."""

    def __init__(self) -> None:
        self.captures = []
        self.down = False

    def put(self, path, policy, cause, **_route):
        if self.down:
            raise BrokerError("down")
        self.captures.append((path.name, policy, cause))
        return True

    def names(self):
        return [name for name, _, _ in self.captures]


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def run(root, redis_client):
    running = []

    def start(catalog=None, **settings):
        settings = {"settle": 0.1, "max_wait": 30.0, **settings}
        config = Config(policies=(Policy(name="p", watch=(str(root),), **settings),))
        asked = Asked()
        catalog = catalog or Catalog(redis_client)
        watcher = Watcher(config, catalog, asked)
        stop = StopRequests()
        thread = threading.Thread(target=watcher.run, args=(stop,))
        thread.start()
        running.append((thread, stop))
        return watcher, asked, catalog

    yield start
    for thread, stop in running:
        stop.count = 1
        thread.join(10)


def write(path):
    with h5py.File(path, "w") as file:
        file["x"] = 1


def test_what_was_there_before_is_asked_for(root, run):
    write(root / "a.h5")
    _, asked, catalog = run()
    wait_for(lambda: asked.captures == [("a.h5", "p", "rescan")], "the file")
    assert catalog.source(root / "a.h5").state is State.SETTLING


def test_what_is_captured_already_is_not_asked_for(root, run, redis_client):
    write(root / "a.h5")
    catalog = Catalog(redis_client)
    catalog.captures.captured(
        root / "a.h5", FileStat.of((root / "a.h5").stat()), state=State.CURRENT
    )
    _, asked, _ = run()
    write(root / "b.h5")
    wait_for(lambda: "b.h5" in asked.names(), "the new file")
    assert "a.h5" not in asked.names()


def test_a_burst_of_changes_is_one_capture(root, run):
    _, asked, _ = run(settle=0.5)
    for _ in range(20):
        write(root / "a.h5")
    wait_for(lambda: asked.captures, "the capture")
    write(root / "b.h5")
    wait_for(lambda: "b.h5" in asked.names(), "another file")
    assert asked.names() == ["a.h5", "b.h5"]


def test_a_file_that_is_open_waits_and_then_goes_all_the_same(root, run):
    _, asked, _ = run(max_wait=1.0)
    with h5py.File(root / "a.h5", "w") as file:
        file["x"] = 1
        file.flush()
        wait_for(lambda: asked.captures, "max_wait")
    assert asked.captures[0] == ("a.h5", "p", "max_wait")


def test_a_file_whose_writer_crashed_waits_one_settle_time_more(root, run):
    _, asked, _ = run(settle=0.4)
    path = root / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = 1
    with path.open("r+b") as raw:  # the consistency flag of a superblock of version 3
        raw.seek(11)
        raw.write(b"\x01")
    began = time.monotonic()
    wait_for(lambda: asked.captures, "the capture")
    assert [cause for _, _, cause in asked.captures] != ["max_wait"]
    assert time.monotonic() - began >= 2 * 0.4 - 0.05


def test_an_open_file_is_skipped_until_it_is_closed(root, run):
    _, asked, _ = run(max_wait=0.2, while_open="skip")
    with h5py.File(root / "a.h5", "w") as file:
        file["x"] = 1
        file.flush()
        write(root / "b.h5")
        wait_for(lambda: "b.h5" in asked.names(), "another file")
        assert "a.h5" not in asked.names()
    wait_for(lambda: "a.h5" in asked.names(), "the file, closed")


def test_a_rename_is_noted_in_the_catalog(root, run):
    _, asked, catalog = run()
    write(root / "a.h5")
    wait_for(lambda: "a.h5" in asked.names(), "the file")
    (root / "a.h5").rename(root / "b.h5")
    wait_for(lambda: "b.h5" in asked.names(), "its new name")
    assert catalog.source(root / "b.h5").moved_from == str(root / "a.h5")
    assert catalog.source(root / "a.h5").state is State.MISSING


def test_a_temporary_name_leaves_no_trace(root, run):
    _, asked, catalog = run()
    write(root / "a.tmp")
    (root / "a.tmp").rename(root / "a.h5")
    wait_for(lambda: asked.names() == ["a.h5"], "the file")
    assert [source.path for source in catalog.sources()] == [str(root / "a.h5")]
    assert catalog.source(root / "a.h5").moved_from is None


def test_a_deleted_file_is_noted_and_not_asked_for(root, run):
    _, asked, catalog = run(settle=5.0)
    write(root / "a.h5")
    wait_for(lambda: catalog.source(root / "a.h5"), "the news")
    (root / "a.h5").unlink()
    wait_for(lambda: catalog.source(root / "a.h5").state is State.MISSING, "its end")
    assert asked.captures == []


def test_a_directory_that_was_deleted_is_noted(root, run):
    import shutil

    _, asked, catalog = run()
    (root / "sub").mkdir()
    write(root / "sub" / "a.h5")
    wait_for(lambda: "a.h5" in asked.names(), "the file")
    path = root / "sub" / "a.h5"
    catalog.captures.captured(path, FileStat.of(path.stat()), state=State.CURRENT)
    (root / "sub").rename(root.parent / "away")
    wait_for(lambda: catalog.source(path).state is State.MISSING, "its end")
    shutil.rmtree(root.parent / "away")


def test_what_a_worker_put_off_is_asked_for_in_time(root, run):
    _, asked, catalog = run()
    write(root / "a.h5")
    wait_for(lambda: asked.captures, "the first capture")
    catalog.captures.started(root / "a.h5", "p")
    catalog.captures.postponed(root / "a.h5", 0.2, "busy", state=State.SETTLING, attempts=0, busy=1)
    wait_for(lambda: ("a.h5", "p", "retry") in asked.captures, "the second")


def test_a_queue_that_refuses_is_asked_again(root, run):
    _, asked, _ = run()
    asked.down = True
    write(root / "a.h5")
    write(root / "b.h5")
    wait_for((root / "a.h5").exists, "the files")
    asked.down = False
    wait_for(lambda: sorted(asked.names()) == ["a.h5", "b.h5"], "both")


def test_a_broker_that_is_away_at_the_start_is_waited_for(root, run, broker, tmp_path):
    """The socket is a link that is made later."""
    link = tmp_path / "late.sock"
    write(root / "a.h5")
    _, asked, catalog = run(Catalog(connect(f"unix://{link}")))
    write(root / "b.h5")
    with pytest.raises(redis.ConnectionError):
        catalog.queue()
    link.symlink_to(broker.socket)
    wait_for(lambda: sorted(set(asked.names())) == ["a.h5", "b.h5"], "both")


def test_retries_of_another_host_that_is_down_do_not_stand_in_the_way(root, run, redis_client):
    foreign = {f"/elsewhere/{number}.h5": 1.0 for number in range(BATCH)}
    redis_client.zadd(f"{PREFIX}retry", foreign)
    catalog = Catalog(redis_client)
    write(root / "a.h5")
    stat = FileStat.of((root / "a.h5").stat())
    catalog.captures.captured(
        root / "a.h5", stat, state=State.CURRENT
    )  # a look finds nothing to do
    redis_client.zadd(f"{PREFIX}retry", {str(root / "a.h5"): 2.0})
    _, asked, _ = run()
    wait_for(lambda: asked.captures == [("a.h5", "p", "retry")], "ours")
