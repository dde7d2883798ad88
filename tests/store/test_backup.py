"""Copies of a store that captures write to meanwhile: which way is safe."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.waiting import wait_for
from vh5d.capture.restore import restore
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

ROOT = Path(__file__).parents[2]
COPIES = 5

WRITER = """
import sys
from pathlib import Path
import h5py
import numpy as np
from vh5d.capture.capture import capture
source, store, stop = map(Path, sys.argv[1:])
numbers = np.random.default_rng(0)
while not stop.exists():
    with h5py.File(source, "r+") as f:
        f["x"][numbers.integers(200)] = numbers.integers(0, 255, 4096)
        f.attrs["n"] = numbers.integers(1000)
    capture(source, store)
"""


@pytest.mark.skipif(not shutil.which("flock"), reason="flock (util-linux) is not installed")
def test_a_copy_under_a_shared_lock_is_whole(tmp_path):
    source, store, stop = (tmp_path / name for name in ("run.h5", "store.h5", "stop"))
    with h5py.File(source, "w") as f:
        f.create_dataset("x", data=np.zeros((200, 4096), "u1"), chunks=(1, 4096))
    command = [sys.executable, "-c", WRITER, *map(str, (source, store, stop))]
    with subprocess.Popen(command, cwd=ROOT) as writer:
        try:
            wait_for(store.exists, "the first version", timeout=60)
            copied = [copy_of(store, tmp_path / f"copy{number}.h5") for number in range(COPIES)]
        finally:
            stop.touch()
        assert writer.wait(60) == 0
    assert len(set(copied)) > 1  # captures went on between them


def copy_of(store: Path, copy: Path) -> str:
    """Copy as docs/backup.md says; the newest version of what came of it, which is whole."""
    with open_store(store) as reader:
        before = reader.versions[-1].name

    def went_on() -> bool:
        with open_store(store) as reader:
            return reader.versions[-1].name != before

    wait_for(went_on, "another version", timeout=60)
    subprocess.run(["flock", "--shared", store, "cp", store, copy], check=True, timeout=60)
    assert verify(copy).ok
    with open_store(copy) as reader:
        newest = reader.versions[-1].name
    restore(copy, newest, copy.with_suffix(".restored"))  # the digest is compared
    return newest
