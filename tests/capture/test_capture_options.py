"""What a capture may be told: what counts, what is kept, what it is called, who may read it."""

from __future__ import annotations

import grp
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.compare import differences
from tests.support.history import sha256
from vh5d.capture.capture import capture
from vh5d.capture.diff import diff
from vh5d.capture.options import CaptureOptions
from vh5d.capture.repair import repair
from vh5d.capture.restore import restore
from vh5d.capture.throttle import Throttle
from vh5d.errors import SourceTooLargeError, StoreDamagedError, UsageError
from vh5d.hdf5.writer_lock import lock_path
from vh5d.interop.exporting import export_file
from vh5d.policy.datasets import Datasets
from vh5d.store.compact import compact
from vh5d.store.layout import RESERVED_ATTRIBUTES, VERSIONS
from vh5d.store.prune import prune
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

CONTENT = CaptureOptions(exact=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "a run"
        file.attrs["timestamp"] = "of the source itself"
        file.create_dataset("entry/data", data=np.arange(40_000.0), chunks=(1000,))
        file["entry/contiguous"] = np.arange(30_000)
        file["entry/small"] = [1, 2, 3]
        file["entry/names"] = ["ä", "b"]
        file["entry/ref"] = file["entry/data"].ref
        file["log/clock"] = 0.0
        file["log/lines"] = np.zeros(5000)
        file["soft"] = h5py.SoftLink("/entry/data")
    return path


def change(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        file[name][...] = np.random.default_rng().random(file[name].shape)


# Without what bit for bit needs


def test_content_alone_comes_back_as_content(source, tmp_path):
    store = tmp_path / "store.h5"
    whole = capture(source, tmp_path / "exact.h5")
    result = capture(source, store, options=CONTENT)
    assert (result.version, result.kept_as) == ("v1", "content")
    assert result.bytes_added < whole.bytes_added
    back = restore(store, "v1", tmp_path / "back.h5")
    assert not back.exact
    with h5py.File(tmp_path / "back.h5", "r") as a, h5py.File(source, "r") as b:
        assert differences(a["/"], b["/"], storage=False) == []
        assert a[a["entry/ref"][()]] == a["entry/data"]
    assert (tmp_path / "back.h5").stat().st_mtime_ns == source.stat().st_mtime_ns
    assert verify(store).ok


def test_bytes_that_are_no_content_make_no_version_of_content(source, tmp_path):
    store = tmp_path / "store.h5"
    capture(source, store, options=CONTENT)
    with h5py.File(source, "r+") as file:
        file["entry/small"][...] = [1, 2, 3]
        file.create_dataset("new", data=1)
        del file["new"]
    assert capture(source, store, options=CONTENT).version is None
    change(source, "entry/small")
    assert capture(source, store, options=CONTENT).version == "v2"


def test_exactness_can_be_asked_for_later_and_given_up(source, tmp_path):
    store = tmp_path / "store.h5"
    capture(source, store, options=CONTENT)
    assert capture(source, store).version == "v2"
    restore(store, "v2", tmp_path / "back.h5")
    assert sha256(tmp_path / "back.h5") == sha256(source)
    assert capture(source, store, options=CONTENT).version is None
    change(source, "entry/data")
    assert capture(source, store, options=CONTENT).kept_as == "content"
    assert verify(store).ok


def test_damage_is_found_before_content_is_restored(source, tmp_path):
    store = tmp_path / "store.h5"
    capture(source, store, options=CONTENT)
    with open_store(store) as reader:
        pool = max((reader.pools[name] for name in reader.pools), key=len)
        address, stored = map(int, pool.table[3][:2])
    with store.open("r+b") as file:
        file.seek(address + stored // 2)
        file.write(b"\xff\xff\xff\xff")
    assert not verify(store).ok
    with pytest.raises(StoreDamagedError):
        restore(store, "v1", tmp_path / "back.h5")
    assert not (tmp_path / "back.h5").exists()


# Which datasets count


def test_a_change_of_what_does_not_count_makes_no_version(source, tmp_path):
    store = tmp_path / "store.h5"
    options = CaptureOptions(counts=Datasets(exclude=("/log/**",)).counts)
    assert capture(source, store, options=options).version == "v1"
    change(source, "log/clock")
    change(source, "log/lines")
    assert capture(source, store, options=options).version is None
    change(source, "entry/small")
    assert capture(source, store, options=options).version == "v2"
    restore(store, "v2", tmp_path / "back.h5")  # and with everything, bit for bit
    assert sha256(tmp_path / "back.h5") == sha256(source)


def test_what_is_gone_or_new_counts_where_it_was(source, tmp_path):
    store = tmp_path / "store.h5"
    options = CaptureOptions(counts=Datasets(include=("/entry/**",)).counts)
    capture(source, store, options=options)
    with h5py.File(source, "r+") as file:
        del file["log/clock"]
        file["log/more"] = 1
    assert capture(source, store, options=options).version is None
    with h5py.File(source, "r+") as file:
        del file["entry/small"]
    assert capture(source, store, options=options).version == "v2"
    with h5py.File(source, "r+") as file:
        file["entry/new"] = 1
    assert capture(source, store, options=options).version == "v3"


# Names


def test_versions_are_called_as_asked(source, tmp_path):
    store = tmp_path / "store.h5"
    when = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    options = CaptureOptions(version_name=lambda n, at: f"run-{n}-{at:%Y%m%d}")
    result = capture(source, store, options=options, clock=lambda: when)
    assert result.version == "run-1-20261124"
    change(source, "entry/small")
    same = CaptureOptions(version_name=lambda _n, _at: "run-1-20261124")
    assert capture(source, store, options=same, clock=lambda: when).version == "run-1-20261124-2"
    with open_store(store) as reader:
        assert reader.resolve("-1").timestamp == when


# Who may read it


def test_a_store_is_as_open_as_asked(source, tmp_path):
    store = tmp_path / "store.h5"
    capture(source, store, options=CaptureOptions(store_mode=0o640))
    assert stat.S_IMODE(store.stat().st_mode) == 0o640
    capture(source, store, options=CaptureOptions(store_mode=0o600))
    assert stat.S_IMODE(store.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a group that is not its own")
def test_the_group_of_a_store_is_given_before_its_rights(source, tmp_path):
    group = next(each for each in grp.getgrall() if each.gr_gid not in {0, os.getegid()})
    store = tmp_path / "store.h5"
    seen = []

    def look(_done: int, _total: int) -> None:
        for path in tmp_path.glob("*store.h5*"):
            found = path.stat()
            seen.append((found.st_gid, stat.S_IMODE(found.st_mode)))

    options = CaptureOptions(store_mode=0o660, store_group=group.gr_name)
    for _ in range(2):
        capture(source, store, options=options, progress=look)
        change(source, "entry/data")
    assert (store.stat().st_gid, stat.S_IMODE(store.stat().st_mode)) == (group.gr_gid, 0o660)
    assert not [each for each in seen if each[0] != group.gr_gid and each[1] & 0o070]
    assert not lock_path(store).exists()


def test_a_group_that_there_is_not(source, tmp_path):
    with pytest.raises(UsageError, match="no group 'nobodys'"):
        capture(source, tmp_path / "s.h5", options=CaptureOptions(store_group="nobodys"))
    assert not (tmp_path / "s.h5").exists()


# How much


def test_a_larger_file_is_refused(source, tmp_path):
    size = source.stat().st_size
    with pytest.raises(SourceTooLargeError, match=str(size)):
        capture(source, tmp_path / "s.h5", options=CaptureOptions(file_size=size - 1))
    assert not (tmp_path / "s.h5").exists()
    assert capture(source, tmp_path / "s.h5", options=CaptureOptions(file_size=size)).version


def test_reading_waits_for_its_turn():
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    throttle = Throttle(1000.0, lambda: now[0], sleep)
    for nbytes in (500, 1000, 250):
        throttle.take(nbytes)
    assert slept == [0.5, 1.0]
    now[0] += 60
    throttle.take(10**6)  # time that passed is not saved up
    throttle.take(1)
    assert slept[2:] == [1000.0]


def test_a_capture_reads_no_faster_than_it_may(source, tmp_path):
    size = source.stat().st_size
    result = capture(source, tmp_path / "s.h5", options=CaptureOptions(read_rate=size / 0.2))
    assert result.read_bytes == size
    assert result.kept_as == "tree"


def test_the_tree_of_content_is_the_same_one(source, tmp_path):
    capture(source, tmp_path / "s.h5", options=CONTENT)
    with h5py.File(tmp_path / "s.h5", "r") as file, h5py.File(source, "r") as original:
        tree = file[VERSIONS]["v1"]
        assert tree["entry/data"][()].tolist() == original["entry/data"][()].tolist()
        assert set(tree.attrs) - set(RESERVED_ATTRIBUTES) == {"title"}


def test_versions_of_content_can_be_compared_thinned_and_rewritten(source, tmp_path):
    store = tmp_path / "s.h5"
    capture(source, store, options=CONTENT)
    change(source, "entry/data")
    capture(source, store, options=CONTENT)
    change(source, "log/lines")
    capture(source, store)  # exact, between two that are not
    change(source, "entry/small")
    capture(source, store, options=CONTENT)
    paths = [each.path for each in diff(store, "v1", "v2").objects]
    assert paths == ["/entry/data"]
    assert diff(store, "v4", source=source).objects == ()
    change(source, "entry/contiguous")
    assert [each.path for each in diff(store, "v4", source=source).objects] == ["/entry/contiguous"]
    prune(store, ["v2"])
    assert verify(store).ok
    compact(store)
    assert verify(store).ok
    assert repair(store, dry_run=True).ok
    for version, exact in (("v1", False), ("v3", True), ("v4", False)):
        back = tmp_path / f"{version}.h5"
        assert restore(store, version, back).exact is exact
    with h5py.File(tmp_path / "v4.h5", "r") as a, h5py.File(tmp_path / "v3.h5", "r") as b:
        assert a["entry/data"][()].tolist() == b["entry/data"][()].tolist()
        assert a["entry/small"][()].tolist() != b["entry/small"][()].tolist()
    result = export_file(store, tmp_path / "theirs.h5")
    assert result.versions == ("v1", "v3", "v4")


def test_a_file_without_chunks_has_content_too(tmp_path):
    path, store = tmp_path / "a.h5", tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    assert capture(path, store, options=CONTENT).version == "v1"
    assert capture(path, store, options=CONTENT).version is None
    assert verify(store).ok
    restore(store, "v1", tmp_path / "back.h5")
    with h5py.File(tmp_path / "back.h5", "r") as file:
        assert file["x"][()] == 1
