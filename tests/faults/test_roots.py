"""Watched directories that vanish, return, hang, hold too many others, or tell nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from tests.e2e.test_up import kept, write_h5py
from tests.faults.test_brokers import client_of
from tests.support.limits import QUEUED_EVENTS, lowered
from tests.support.mounts import HungFileSystem, mount, overlay, unmount
from tests.support.service import ROOT, Up
from tests.support.waiting import wait_for
from vh5d.policy import Config, Policy
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.running.signals import StopRequests
from vh5d.service.watching import observer as observer_module
from vh5d.service.watching import sight as sight_module
from vh5d.service.watching.canary import Habits
from vh5d.service.watching.watcher import Watcher


def health(up: Up) -> dict[str, str]:
    return {
        root["path"].split("/")[-1]: root["health"]
        for root in Catalog(client_of(up)).sightings.roots()
    }


def states(up: Up) -> dict[str, str]:
    return {source.path.split("/")[-1]: source.state for source in Catalog(client_of(up)).sources()}


def deletions(up: Up) -> list[dict[str, object]]:
    events = Catalog(client_of(up)).events(count=10_000)
    return [event for _, event in events if event["event"] == "missing"]


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_share_that_is_unmounted_is_gone_and_nothing_in_it_deleted(data, make_up, tmp_path, kind):
    share, elsewhere = tmp_path / "share", tmp_path / "elsewhere"
    elsewhere.mkdir()
    share.mkdir()

    def mount_it():
        if kind == "tmpfs":
            mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", share)
        else:
            mount("--bind", elsewhere, share)

    mount_it()
    try:
        up = make_up(share, settle="200ms", store=f"{tmp_path}/stores/{{path}}")
        up.start()
        write_h5py(share / "kept.h5")
        wait_for(lambda: states(up) == {"kept.h5": "current"}, "the version")
        write_h5py(share / "settling.h5")  # and it goes while this one settles
        unmount(share)
        wait_for(lambda: health(up) == {"share": "gone"}, "the loss")
        root = up.status()["roots"][0]
        assert root["reason"] == "is not mounted"
        assert up.said("is not seen")
        time.sleep(1.0)  # nothing is to happen
        assert states(up)["kept.h5"] == "current"
        assert deletions(up) == []
        mount_it()
        if kind == "tmpfs":
            write_h5py(share / "kept.h5")
        write_h5py(share / "new.h5")
        wait_for(lambda: health(up) == {"share": "events"}, "the return")
        wait_for(lambda: states(up).get("new.h5") == "current", "a new file")
        wait_for(lambda: states(up)["kept.h5"] == "current", "the old one")
        # A new tmpfs is empty: what was never kept and is not there any more, is missing.
        assert [each for each in deletions(up) if "kept.h5" in str(each["path"])] == []
        if kind == "bind":
            wait_for(lambda: states(up)["settling.h5"] == "current", "the one that settled")
    finally:
        unmount(share)


def test_a_root_that_was_removed_and_made_again_is_watched_again(make_up, tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    up = make_up(share, settle="200ms", store=f"{tmp_path}/stores/{{path}}")
    up.start()
    write_h5py(share / "a.h5")
    wait_for(lambda: states(up) == {"a.h5": "current"}, "the version")
    share.rename(tmp_path / "away")
    wait_for(lambda: health(up) == {"share": "gone"}, "the loss")
    assert deletions(up) == []
    share.mkdir()
    write_h5py(share / "b.h5")
    wait_for(lambda: states(up).get("b.h5") == "current", "a file in the new one")
    write_h5py(share / "c.h5")
    wait_for(lambda: states(up).get("c.h5") == "current", "another, by its event")
    assert health(up) == {"share": "events"}
    assert states(up)["a.h5"] == "current"
    assert deletions(up) == [], "its file system did not say that it was deleted"
    (share / "b.h5").unlink()
    wait_for(lambda: states(up)["b.h5"] == "missing", "a deletion")


@pytest.mark.slow
def test_more_directories_than_watches_are_looked_at(data, make_up, tmp_path):
    """In a user namespace of its own, so that nobody else's limit is lowered."""
    for number in range(40):
        (data / f"{number:02}" / "deep").mkdir(parents=True)
    up = make_up()
    limit = "/proc/sys/user/max_inotify_watches"
    script = f'echo 20 > {limit} && exec "$@"'
    few = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "-"]
    if shutil.which("unshare") is None or subprocess.run([*few, "true"], check=False).returncode:
        pytest.skip("no user namespaces")
    up.start(few)
    wait_for(lambda: health(up) == {"data": "polling"}, "the notice")
    (root,) = up.status()["roots"]
    assert "over the limit of inotify watches" in root["reason"]
    assert up.said("not every directory can be watched, polling those")
    for number in (0, 20, 39):
        write_h5py(data / f"{number:02}" / "deep" / "a.h5")
    for number in (0, 20, 39):
        path = data / f"{number:02}" / "deep" / "a.h5"
        wait_for(lambda path=path: kept(path, data), f"{number}")
    write_h5py(data / "39" / "deep" / "a.h5")
    wait_for(lambda: kept(data / "39" / "deep" / "a.h5", data), "its next state")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before the start", "later"])
def test_a_share_that_hangs_leaves_the_others_alone(data, tmp_path, when):
    """Its server answers nothing any more; only SIGKILL ends whoever waits for it."""
    with HungFileSystem(tmp_path / "hung") as hung:
        stores = f"{tmp_path}/stores/{{root}}/{{path}}"
        up = Up(data, tmp_path, watch=[str(data), str(hung.point)], store=stores)
        up.arguments = ["--stop-timeout", "3"]
        try:
            if when == "before the start":
                hung.hangs.set()
            up.start()
            if when == "later":
                wait_for(lambda: set(health(up).values()) == {"events"}, "the watcher")
                hung.hangs.set()
            wait_for(lambda: health(up).get("hung") == "blind", "the notice", timeout=60)
            write_h5py(data / "a.h5")
            wait_for(lambda: states(up).get("a.h5") == "current", "the version")
            assert health(up)["data"] == "events"
            (root,) = [each for each in up.status()["roots"] if each["path"] == str(hung.point)]
            assert root["reason"] == "does not answer"
            began = time.monotonic()
            assert up.stop() == 0
            assert time.monotonic() - began < 30
        finally:
            up.kill()


@pytest.fixture
def watch(redis_client):
    """A watcher in this process; what it asks for is listed."""
    running = []

    class Asked(list):
        def put(self, path, policy, cause, **_route):
            self.append(path)
            return True

    def start(root, poll_interval=5.0, **settings):
        wanted = {"settle": 0.1, "max_wait": 30.0, "poll_interval": poll_interval}
        config = Config(policies=(Policy(name="p", watch=(str(root),), **wanted),))
        asked, stop = Asked(), StopRequests()
        catalog = Catalog(redis_client)
        watcher = Watcher(config, catalog, asked, **settings)
        thread = threading.Thread(target=watcher.run, args=(stop,))
        thread.start()
        running.append((thread, stop))
        return watcher, asked, catalog

    yield start
    for thread, stop in running:
        stop.count = 1
        thread.join(20)


def test_what_another_machine_writes_is_found_within_the_interval(watch, tmp_path, monkeypatch):
    """An overlay's upper layer stands for the server: the kernel tells nothing of writes there."""
    with overlay(tmp_path) as (merged, behind):
        monkeypatch.setattr(sight_module, "_SHARED", sight_module.re.compile("overlay"))
        watcher, asked, _ = watch(merged, poll_interval=1.0)
        wait_for(lambda: watcher._health, "the first check")
        (seen,) = watcher._health.values()
        assert seen.sight == "polling"
        assert "other machines write unheard" in seen.reason
        wait_for(watcher._looks.take_directories, "the first look")
        write_h5py(behind / "a.h5")
        wait_for(lambda: merged / "a.h5" in asked, "the file")
        asked.clear()
        write_h5py(behind / "a.h5")
        wait_for(lambda: merged / "a.h5" in asked, "its next state")


def test_where_events_never_arrive_files_are_found_all_the_same(watch, tmp_path, monkeypatch):
    """A queue without a place: the kernel drops every event."""
    monkeypatch.setattr(observer_module, "REVIVAL_PAUSE", 3600.0)
    root = tmp_path / "data"
    root.mkdir()
    with lowered(QUEUED_EVENTS, 0):
        habits = Habits(look=0.1, sing=0.2, patience=1.0)
        watcher, asked, catalog = watch(root, habits=habits)
        watcher._observer._revive_at = time.monotonic() + 3600  # it would have a queue
        wait_for(lambda: watcher._observer.identity(root), "the watch")
    wait_for(
        lambda: [each["health"] for each in catalog.sightings.roots()] == ["blind"], "the notice"
    )
    write_h5py(root / "a.h5")
    wait_for(lambda: root / "a.h5" in asked, "the file")
    watcher._observer._revive_at = 0.0
    wait_for(
        lambda: [each["health"] for each in catalog.sightings.roots()] == ["events"], "the recovery"
    )


def test_an_overflow_loses_nothing(watch, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    with lowered(QUEUED_EVENTS, 16):
        watcher, asked, _ = watch(root)
        wait_for(lambda: watcher._observer.identity(root), "the watch")
    expected = {root / f"{number}.h5" for number in range(2000)}
    for path in expected:
        path.write_bytes(b"x")
    wait_for(lambda: expected <= set(asked), "every file", timeout=60)


def test_a_directory_that_may_not_be_read_is_no_deletion(tmp_path):
    """As another user than root, who may read everything."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    code = (
        "import os, sys; from pathlib import Path;"
        "from vh5d.service.watching.presence import is_absent, was_deleted;"
        "from vh5d.service.catalog.source import Source;"
        "os.setuid(65534);"
        "path = Path(sys.argv[1]); root = path.parent.parent; found = root.stat();"
        "before = Source(str(path), device=found.st_dev, root_inode=found.st_ino);"
        "print(is_absent(path), was_deleted(path, root, before))"
    )
    path = tmp_path / "closed" / "a.h5"
    path.parent.mkdir()
    path.touch()
    path.parent.chmod(0)
    for parent in [tmp_path, *tmp_path.parents][:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    path.parent.chmod(0o700)
    assert done.stdout == "False False\n", done.stderr
