"""Sources that crash the parser, that nobody closed, that mean harm; clocks that step."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta

import h5py
import numpy as np
import pytest

from tests.e2e.test_up import kept, store_of, versions, write_h5py
from tests.support.other_process import run
from tests.support.waiting import wait_for
from vh5d.capture.capture import capture
from vh5d.capture.restore import restore
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.service.capturing.tasks import TASK, make_app, time_limit
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.records import PREFIX
from vh5d.service.catalog.retries import LONGEST_PAUSE
from vh5d.service.catalog.source import FileStat, Source, State
from vh5d.service.watching.rescan import _in_hand
from vh5d.store.reader import open_store

#: A datatype message (HDF5 File Format Specification IV.A.2.d) of class 9, variable length, and
#: version 1; its bit field says "string" and the character set; an element takes 16 bytes.
STRING = b"\x19\x01\x01\x00\x10\x00\x00\x00"


def write_what_crashes_hdf5(path):
    """Strings of variable length whose type is neither a string nor a sequence."""
    with h5py.File(path, "w", libver="earliest") as file:
        file["x"] = ["ab", "cde"]
    content = path.read_bytes()
    assert content.count(STRING) == 1
    path.write_bytes(content.replace(STRING, STRING[:1] + b"\x02" + STRING[2:]))


@pytest.mark.slow
def test_a_file_that_crashes_hdf5_is_kept_by_bytes_and_others_are_served(data, up, tmp_path):
    path = tmp_path / "crash.h5"
    write_what_crashes_hdf5(path)
    died = run(
        "import sys; from pathlib import Path; from vh5d.capture.capture import capture;"
        "capture(Path(sys.argv[1]), Path(sys.argv[1] + '.store'))",
        path,
    )
    if "killed by signal" not in died:
        pytest.skip("this HDF5 library survives the file")
    up.start()
    bad = data / "bad.h5"
    path.rename(bad)
    before = bad.read_bytes()
    wait_for(lambda: up.said("a capture ended its process"), "the crash")
    write_h5py(data / "good.h5")
    wait_for(lambda: kept(data / "good.h5", data), "the other")
    with connect(f"unix://{up.state}/broker/broker.sock") as client:
        # The pauses between attempts grow; they are not what is tested.
        def kept_soon():
            if Catalog(client).source(bad).state is State.FAILED:
                client.zadd(PREFIX + "retry", {str(bad): 0}, xx=True)
            return kept(bad, data)

        wait_for(kept_soon, "the bytes", timeout=90)
    states = {source["path"]: source for source in up.status()["sources"]}
    assert states[str(bad)]["state"] == "unreadable"
    assert "its parsing ended processes" in states[str(bad)]["error"]
    restore(store_of(bad, data), "v1", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == before
    assert len(up.said("a capture ended its process")) == 5
    assert up.stop() == 0


def test_a_capture_that_takes_for_ever_is_ended_and_others_are_served(data, up):
    up.start()
    path = data / "a.h5"
    write_h5py(path)
    wait_for(lambda: kept(path, data), "the first version")
    held = AtomicFile.open(store_of(path, data))  # the capture waits for it
    try:
        path.touch()
        app = make_app(f"unix://{up.state}/broker/broker.sock")
        app.send_task(TASK, args=[str(path), "test"], time_limit=1.0)
        wait_for(lambda: up.said("a capture ended its process"), "its end")
        write_h5py(data / "other.h5")
        wait_for(lambda: kept(data / "other.h5", data), "another file")
    finally:
        held.close()
    write_h5py(path)
    wait_for(lambda: kept(path, data), "a version", timeout=60)


def test_the_time_limit_grows_with_the_file(tmp_path):
    path = tmp_path / "a.h5"
    path.touch()
    assert time_limit(path) == 120
    os.truncate(path, 10**9)
    assert time_limit(path) == 1120
    os.truncate(path, 10**13)
    assert time_limit(path) == 6 * 3600
    assert time_limit(tmp_path / "none") == 6 * 3600


def test_a_file_whose_writer_was_killed_is_unclean_and_kept_by_bytes(data, make_up, tmp_path):
    up = make_up(settle="200ms", max_wait="10m")
    up.start()
    path = data / "a.h5"
    said = run(
        "import h5py, os, signal, sys\n"
        "file = h5py.File(sys.argv[1], 'w', libver='latest')\n"
        "file['x'] = range(1000)\n"
        "file.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        path,
    )
    assert said == f"killed by signal {int(signal.SIGKILL)}"
    before = path.read_bytes()
    wait_for(lambda: kept(path, data), "the bytes")
    (source,) = up.status()["sources"]
    assert source["state"] == "unclean"
    assert "h5clear" in source["error"]
    assert path.read_bytes() == before, "the source is untouched"
    restore(store_of(path, data), "v1", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == before


@pytest.mark.parametrize("kind", ["external storage", "external link", "virtual"])
def test_what_a_file_points_to_elsewhere_is_never_read(tmp_path, kind):
    secret = tmp_path / "secret"
    with h5py.File(secret, "w") as file:
        file["x"] = np.frombuffer(b"do not tell" * 1000, "u1")
    source = tmp_path / "a.h5"
    with h5py.File(source, "w") as file:
        if kind == "external storage":
            file.create_dataset("x", (1000,), "u1", external=[(str(secret), 2048, 1000)])
        elif kind == "external link":
            file["x"] = h5py.ExternalLink(str(secret), "/x")
        else:
            layout = h5py.VirtualLayout((1000,), "u1")
            layout[:] = h5py.VirtualSource(str(secret), "x", (11000,))[:1000]
            file.create_virtual_dataset("x", layout)
    os.utime(secret, (1, 1))
    store = tmp_path / "store.h5"
    capture(source, store)
    assert secret.stat().st_atime == 1
    assert b"do not tell" not in store.read_bytes()


def test_versions_are_ordered_by_sequence_when_the_clock_steps_back(tmp_path):
    source, store = tmp_path / "a.h5", tmp_path / "store.h5"
    now = datetime(2026, 6, 1, tzinfo=UTC)
    for day in (0, -400, 3, -1):
        with h5py.File(source, "w") as file:
            file["x"] = day
        capture(source, store, clock=lambda day=day: now + timedelta(days=day))
    with open_store(store) as reader:
        assert [version.name for version in reader.versions] == ["v1", "v2", "v3", "v4"]
        assert reader.resolve("-1").name == "v4"
        assert [version.prev_version for version in reader.versions[1:]] == ["v1", "v2", "v3"]


def test_a_retry_is_not_put_off_by_a_clock_that_stepped_back():
    found = FileStat(1, 2, 3, 4)
    source = Source("a", state=State.FAILED, error="full", next_try=1000.0 + LONGEST_PAUSE)
    assert _in_hand(source, found, 1000.0)
    assert not _in_hand(source, found, 1000.0 - 3600.0)


def test_a_file_from_the_future_is_kept_and_so_is_its_next_state(data, up):
    """Its writer's clock is ahead."""
    up.start()
    path = data / "a.h5"
    for _ in range(2):
        write_h5py(path)
        ahead = path.stat().st_mtime_ns + 3600 * 10**9
        os.utime(path, ns=(ahead, ahead))
        wait_for(lambda: kept(path, data), "the version")
    assert len(versions(path, data)) == 2
    catalog = Catalog(connect(f"unix://{up.state}/broker/broker.sock"))
    wait_for(lambda: catalog.source(path).state is State.CURRENT, "the state")
