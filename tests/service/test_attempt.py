"""What a worker does with a path: real files, real stores, a real catalog."""

from __future__ import annotations

import errno
import os

import h5py
import numpy as np
import pytest

from tests.support.other_process import run
from vh5d.capture.capture import capture
from vh5d.capture.restore import restore
from vh5d.policy import Policy
from vh5d.service.capturing import attempt as attempt_module
from vh5d.service.capturing.attempt import MOST_UNPARSED, Attempt
from vh5d.service.capturing.setbacks import MOST_ATTEMPTS
from vh5d.service.catalog.source import FileStat, State
from vh5d.store.reader import open_store


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "data").mkdir()
    return Policy(name="p", watch=(str(tmp_path / "data"),), settle=0.5)


@pytest.fixture
def attempt(policy, catalog):
    return Attempt({policy.name: policy}, catalog, random=lambda: 0.0)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "data" / "a.h5"
    write(path)
    return path


def write(path, numbers=10):
    with h5py.File(path, "w") as file:
        file["x"] = np.random.default_rng().random(numbers)


def versions(policy, path):
    with open_store(policy.store_for(path)) as reader:
        return [version.name for version in reader.versions]


def test_a_file_becomes_a_version_and_is_current(attempt, policy, catalog, source):
    assert attempt(source, "p") is State.CURRENT
    known = catalog.source(source)
    assert (known.state, known.version, known.kept_as) == ("current", "v1", "tree")
    assert known.stat == FileStat.of(source.stat())
    assert versions(policy, source) == ["v1"]
    assert catalog.retries.due() == []


def test_a_second_delivery_makes_no_second_version(attempt, policy, catalog, source):
    attempt(source, "p")
    assert attempt(source, "p") is State.CURRENT
    assert versions(policy, source) == ["v1"]
    assert catalog.source(source).version == "v1"


@pytest.mark.parametrize("name", ["p", "another"])
def test_a_path_outside_the_policy_is_refused(attempt, catalog, tmp_path, name):
    outside = tmp_path / "secret.h5"
    write(outside)
    assert attempt(outside, name) is None
    assert list(catalog.sources()) == []


def test_a_link_out_of_the_policy_is_refused(attempt, catalog, tmp_path):
    write(tmp_path / "secret.h5")
    link = tmp_path / "data" / "link.h5"
    link.symlink_to(tmp_path / "secret.h5")
    assert attempt(link, "p") is None
    assert list(catalog.sources()) == []


def test_a_path_with_dots_is_refused(attempt, tmp_path):
    write(tmp_path / "secret.h5")
    assert attempt(tmp_path / "data" / ".." / "secret.h5", "p") is None


def test_a_file_that_is_gone_is_missing(attempt, catalog, source):
    attempt(source, "p")
    source.unlink()
    assert attempt(source, "p") is State.MISSING
    assert catalog.source(source).state is State.MISSING


def test_an_emptied_file_keeps_its_history(attempt, policy, catalog, source):
    attempt(source, "p")
    os.truncate(source, 0)
    assert attempt(source, "p") is State.EMPTIED
    assert versions(policy, source) == ["v1"]
    assert catalog.retries.due() == []


def test_a_truncated_file_is_looked_at_again_and_then_kept_by_bytes(
    attempt, policy, catalog, source, clock
):
    os.truncate(source, source.stat().st_size // 2)
    assert attempt(source, "p") is State.SETTLING
    assert not policy.store_for(source).exists()
    clock.now += 60
    assert catalog.retries.due() == [str(source)]
    assert attempt(source, "p") is State.UNREADABLE
    known = catalog.source(source)
    assert (known.version, known.kept_as) == ("v1", "bytes")
    assert catalog.retries.due() == []


def test_a_file_that_somebody_writes_waits_without_being_blamed(attempt, catalog, source, clock):
    with h5py.File(source, "a") as file:
        file.attrs["open"] = 1
        file.flush()
        pauses = []
        for _ in range(MOST_ATTEMPTS + 2):
            assert attempt(source, "p") is State.SETTLING
            pauses.append(catalog.source(source).next_try - clock.now)
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert catalog.source(source).attempts == 0
    assert attempt(source, "p") is State.CURRENT
    assert catalog.source(source).busy == 0


def test_a_file_that_is_written_for_too_long_is_tried_all_the_same(attempt, catalog, source):
    with h5py.File(source, "a") as file:
        file.attrs["open"] = 1
        file.flush()
        catalog.claims.take(source, "p", "max_wait")
        assert attempt(source, "p") is State.CURRENT


def test_a_store_somebody_writes_is_waited_for(attempt, policy, catalog, source, monkeypatch):
    from vh5d.hdf5.atomic_file import AtomicFile

    attempt(source, "p")
    write(source)
    monkeypatch.setattr(attempt_module, "STORE_TIMEOUT", 0.05)
    held = AtomicFile.open(policy.store_for(source))
    try:
        assert attempt(source, "p") is State.SETTLING
        assert "being written by" in catalog.source(source).error
    finally:
        held.close()
    assert attempt(source, "p") is State.CURRENT


def test_a_broken_store_is_given_up_after_a_few_attempts(attempt, policy, catalog, source, clock):
    store = policy.store_for(source)
    store.parent.mkdir(parents=True)
    store.write_bytes(b"not a store")
    pauses = []
    for _ in range(MOST_ATTEMPTS - 1):
        assert attempt(source, "p") is State.FAILED
        pauses.append(catalog.source(source).next_try - clock.now)
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert attempt(source, "p") is State.FAILED
    known = catalog.source(source)
    assert known.stat == FileStat.of(source.stat()), "a look at the disk leaves it alone"
    assert known.next_try is None
    assert catalog.retries.due() == []
    assert str(store) in known.error
    assert store.read_bytes() == b"not a store"


def end_workers(catalog, source, times):
    for _ in range(times):
        catalog.captures.started(source, "p")
        catalog.captures.cut_short(source, "signal 11 (SIGSEGV)")


def test_a_file_that_ended_its_worker_a_few_times_is_kept_by_bytes(
    attempt, policy, catalog, source, tmp_path
):
    end_workers(catalog, source, MOST_ATTEMPTS)
    assert attempt(source, "p") is State.UNREADABLE
    assert "its parsing ended processes" in catalog.source(source).error
    restore(policy.store_for(source), "v1", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    write(source)
    assert attempt(source, "p") is State.CURRENT, "another state has another chance"


def test_a_file_that_ends_its_worker_even_so_is_given_up(attempt, policy, catalog, source):
    attempts = MOST_ATTEMPTS + MOST_UNPARSED
    end_workers(catalog, source, attempts)
    assert attempt(source, "p") is State.FAILED
    assert catalog.source(source).error == f"it ended {attempts} workers"
    assert not policy.store_for(source).exists()
    write(source)
    assert attempt(source, "p") is State.CURRENT, "another state has another chance"


def test_a_file_whose_writer_crashed_is_unclean_and_kept_by_bytes(
    attempt, policy, catalog, source, tmp_path
):
    leave_open(source)
    before = source.read_bytes()
    assert attempt(source, "p") is State.UNCLEAN
    known = catalog.source(source)
    assert (known.version, known.kept_as) == ("v1", "bytes")
    assert "h5clear" in known.error
    assert catalog.retries.due() == []
    assert source.read_bytes() == before
    restore(policy.store_for(source), "v1", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == before


def test_an_unclean_file_stays_so_when_the_catalog_is_filled_anew(attempt, policy, catalog, source):
    leave_open(source)
    capture(source, policy.store_for(source))
    catalog.claims.take(source, "p", "rescan")
    assert attempt(source, "p") is State.UNCLEAN
    assert catalog.source(source).version == "v1"


def leave_open(path):
    """As an instrument does that is killed: marked as being written, by nobody."""
    run(
        "import h5py, os, signal, sys\n"
        "file = h5py.File(sys.argv[1], 'w', libver='latest')\n"
        "file['x'] = range(1000)\n"
        "file.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        path,
    )


def test_a_share_that_is_not_mounted_is_waited_for(attempt, policy, catalog, source):
    """As it looks when it is: the directory is another one, and empty."""
    attempt(source, "p")
    source.parent.rename(source.parent.with_name("elsewhere"))
    source.parent.mkdir()
    for moment in ("another directory", "none"):
        assert attempt(source, "p") is State.SETTLING, moment
        assert catalog.source(source).next_try is not None
        if moment == "another directory":
            source.parent.rmdir()
    source.parent.with_name("elsewhere").rename(source.parent)
    assert attempt(source, "p") is State.CURRENT


def test_a_file_that_cannot_be_read_is_never_given_up(attempt, catalog, source, monkeypatch):
    """A disk or a share that fails says nothing against the file."""

    def fail(*_args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", fail)
        for _ in range(MOST_ATTEMPTS + 3):
            assert attempt(source, "p") is State.UNREADABLE
            assert catalog.source(source).next_try is not None
    assert attempt(source, "p") is State.CURRENT


def test_a_fault_of_ours_is_told_and_tried_again(attempt, catalog, source, monkeypatch):
    def fail(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr(attempt_module, "capture", fail)
    assert attempt(source, "p") is State.FAILED
    assert catalog.source(source).error == "out of memory"
    assert catalog.source(source).attempts == 1


def test_a_full_disk_is_never_given_up(attempt, catalog, source, monkeypatch):
    from vh5d.errors import StoreWriteError

    def fail(*_args, **_options):
        raise StoreWriteError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(attempt_module, "capture", fail)
        for _ in range(MOST_ATTEMPTS + 3):
            assert attempt(source, "p") is State.FAILED
            assert catalog.source(source).next_try is not None
    assert attempt(source, "p") is State.CURRENT


def test_an_empty_catalog_is_filled_from_the_store(attempt, policy, catalog, source):
    capture(source, policy.store_for(source))
    catalog.claims.take(source, "p", "rescan")
    before = policy.store_for(source).stat()
    assert attempt(source, "p") is State.CURRENT
    assert catalog.source(source).version == "v1"
    assert policy.store_for(source).stat() == before


def test_a_change_missed_while_the_service_was_down_is_captured(attempt, policy, catalog, source):
    capture(source, policy.store_for(source))
    write(source, 11)
    catalog.claims.take(source, "p", "rescan")
    assert attempt(source, "p") is State.CURRENT
    assert versions(policy, source) == ["v1", "v2"]


def test_a_renamed_file_takes_its_store_along(attempt, policy, catalog, source):
    attempt(source, "p")
    old_store = policy.store_for(source)
    new = source.with_name("b.h5")
    source.rename(new)
    catalog.sightings.moved(source, new, "p")
    write(new)
    assert attempt(new, "p") is State.CURRENT
    assert versions(policy, new) == ["v1", "v2"]
    assert not old_store.exists()


def test_a_rename_never_takes_the_place_of_a_store(attempt, policy, catalog, source):
    new = source.with_name("b.h5")
    write(new)
    attempt(source, "p")
    attempt(new, "p")
    source.rename(new)
    catalog.sightings.moved(source, new, "p")
    attempt(new, "p")
    assert versions(policy, new) == ["v1", "v2"]
    assert versions(policy, source) == ["v1"], "the old name's history stays"


def test_a_name_that_is_used_again_keeps_its_history(attempt, policy, catalog, source):
    """As `mv a.h5 b.h5; h5repack b.h5 a.h5` does."""
    attempt(source, "p")
    new = source.with_name("b.h5")
    source.rename(new)
    write(source)
    catalog.sightings.moved(source, new, "p")
    attempt(new, "p")
    attempt(source, "p")
    assert versions(policy, new) == ["v1"]
    assert versions(policy, source) == ["v1", "v2"]
