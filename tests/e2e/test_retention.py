"""A service that thins its stores by itself: missed nights are caught up with, quotas hold."""

from __future__ import annotations

import h5py
import numpy as np

from tests.support.waiting import wait_for
from vh5d.capture.capture import capture
from vh5d.errors import StoreBusyError
from vh5d.store.reader import open_store
from vh5d.store.tags import tag
from vh5d.store.verify import verify


def write(path, seed, nbytes=1000):
    with h5py.File(path, "w") as file:
        file["x"] = np.random.default_rng(seed).integers(0, 255, nbytes, np.uint8)


def names(store):
    try:
        with open_store(store) as reader:
            return [version.name for version in reader.versions]
    except StoreBusyError:  # a commit is being applied
        return None


def test_a_night_that_was_missed_is_caught_up_with(make_up, data):
    source, store = data / "run.h5", data / ".vh5d" / "run.h5"
    store.parent.mkdir()
    for seed in range(5):
        write(source, seed)
        capture(source, store)
    tag(store, "v2", "best")
    up = make_up(retention={"keep_last": 2}).start()
    wait_for(lambda: names(store) == ["v2", "v4", "v5"], "the stores to be thinned", 90)
    wait_for(lambda: up.said("maintained"), "it to be said", 60)
    assert up.said("thinned")[0]["versions"] == 2
    assert up.stop() == 0
    assert verify(store).ok


def test_a_quota_is_kept_by_thinning(make_up, data):
    up = make_up(
        settle="50ms",
        retention={"keep_last": 1},
        limits={"store_quota": "3 MiB"},
    ).start()
    source, store = data / "run.h5", data / ".vh5d" / "run.h5"
    wait_for(lambda: up.said("maintained"), "the round at the start", 90)
    for seed in range(5):
        write(source, seed, 1 << 20)
        known = source.stat().st_mtime_ns

        def kept(known=known):
            found = names(store) if store.exists() else None
            if not found:
                return False
            with open_store(store) as reader:
                return reader.versions[-1].source_mtime_ns == known

        wait_for(kept, f"state {seed} to be kept", 120)
    assert store.stat().st_blocks * 512 < 4 << 20
    assert up.said("over the quota, thinning")
    assert up.stop() == 0
