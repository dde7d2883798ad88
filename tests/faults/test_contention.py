"""Several who want one store: deadlines, who holds it, back-off, and no update is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
import traceback

import h5py
import numpy as np
import pytest

from tests.support.other_process import other_process, run
from tests.support.service import ROOT
from tests.support.waiting import wait_for
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.errors import StoreBusyError
from vh5d.store.prune import prune
from vh5d.store.reader import open_store
from vh5d.store.transaction import begin
from vh5d.store.verify import verify

APPLY = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
"""
CAPTURE = """
import sys
import h5py
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.errors import VH5DError
directory, store, who = sys.argv[1:]
for number in range(12):
    source = f"{directory}/{who}.h5"
    with h5py.File(source, "w") as file:
        file["who"], file["number"] = who, number
    print(capture(source, store, options=CaptureOptions(timeout=60, threads=1)).version)
"""


@pytest.fixture
def store(tmp_path):
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["x"] = np.arange(1000)
    capture(tmp_path / "source.h5", tmp_path / "store.h5")
    return tmp_path / "store.h5"


def test_who_opens_a_store_during_a_commit_waits_for_its_end(store):
    # It was refused at once: `vh5d log` failed whenever it came at the wrong moment.
    with other_process(APPLY, store) as process:
        release = threading.Timer(0.3, process.stdin.close)
        release.start()
        started = time.monotonic()
        with open_store(store, timeout=30) as reader:
            assert time.monotonic() - started > 0.1
            assert len(reader.versions) == 1
        release.join()


def test_and_no_longer_than_it_was_told(store):
    with other_process(APPLY, store):
        started = time.monotonic()
        with pytest.raises(StoreBusyError, match="a commit is being applied"):
            open_store(store, timeout=0.2)
        assert 0.2 <= time.monotonic() - started < 5


def versions_of(outputs):
    return sorted(int(line[1:]) for output in outputs for line in output.splitlines())


def test_two_writers_lose_no_update(tmp_path):
    store = tmp_path / "store.h5"
    outputs = []

    def work(who):
        outputs.append(run(CAPTURE, tmp_path, store, who))

    threads = [threading.Thread(target=work, args=(who,)) for who in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions_of(outputs) == list(range(1, 25))
    check(store, 24)


def check(store, count):
    assert verify(store).ok
    with open_store(store) as reader:
        assert [version.sequence for version in reader.versions] == list(range(1, count + 1))
        trees = [reader.tree(version) for version in reader.versions]
        found = {(tree["who"][()], int(tree["number"][()])) for tree in trees}
    assert found == {(who, number) for who in (b"one", b"other") for number in range(count // 2)}


def test_two_hosts_lose_no_update(tmp_path):
    """Two network namespaces with host names of their own, one file system."""
    prefix = ["unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or not succeeds([*prefix, "true"]):
        pytest.skip("there are no namespaces for us")
    store = tmp_path / "store.h5"
    named = 'hostname "$0" && exec "$@"'
    capturing = [sys.executable, "-c", CAPTURE, str(tmp_path)]
    processes = [
        subprocess.Popen(
            [*prefix, "sh", "-c", named, f"host-{who}", *capturing, str(store), who],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in ("one", "other")
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert versions_of(outputs) == list(range(1, 25))
    check(store, 24)
    with open_store(store) as reader:
        assert {version.host for version in reader.versions} == {"host-one", "host-other"}


def succeeds(command):
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_writers_and_a_long_reader_do_not_wait_for_each_other_for_ever(store, tmp_path):
    """The reader holds the store and wants to write: both ends are deadlines, not a deadlock."""
    with h5py.File(store, "r", locking=True):
        with h5py.File(tmp_path / "source.h5", "a") as file:
            file["y"] = 1
        started = time.monotonic()
        with pytest.raises(StoreBusyError, match="held open by"):
            capture(tmp_path / "source.h5", store, options=CaptureOptions(timeout=0.3))
        with pytest.raises(StoreBusyError, match="held open by"):
            prune(store, ["v1"], allow_empty=True, timeout=0.3)
        assert time.monotonic() - started < 10
    assert capture(tmp_path / "source.h5", store).version == "v2"
    assert verify(store).ok


def test_who_waits_to_make_a_store_goes_on_with_the_one_that_was_made_meanwhile(tmp_path):
    # The second was refused: the store existed by the time it was its turn.
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["x"] = 1
    store = tmp_path / "store.h5"
    versions = []

    def work():
        versions.append(capture(tmp_path / "source.h5", store).version)

    second = threading.Thread(target=work)
    with begin(store) as first:
        second.start()
        wait_for(lambda: waits(second), "the second to wait")
        first.commit()
    second.join()
    assert versions == ["v1"]


def waits(thread):
    """Whether a thread is waiting for a lock."""
    frames = traceback.walk_stack(sys._current_frames().get(thread.ident))
    return any(frame.f_code.co_name == "wait_until" for frame, _ in frames)
