"""Who is writing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import h5py
import pytest

from tests.support.other_process import other_process, run
from vh5d.hdf5.locks import held_locks
from vh5d.hdf5.writers import WriterState, writers

WRITE = """
import h5py, sys
file = h5py.File(sys.argv[1], "r+", libver=sys.argv[2], locking=False)
file.flush()
"""
CRASH = WRITE + "import os; os._exit(0)"
LOCK = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "source.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = range(10)
    return path


def test_a_file_at_rest_or_only_read_has_none(path):
    with h5py.File(path), path.open("rb"):
        assert writers([path, path.with_name("none.h5"), path.parent]) == {}


def test_a_process_that_has_it_open_is_named(path):
    with other_process(WRITE, path, "latest") as process:
        state = writers([path])[path]
    assert state.flag == 1
    assert state.process.startswith("open for writing by python")
    assert state.process.endswith(f"(pid {process.pid})")
    assert str(state) == state.process


def test_early_files_have_no_flag_but_are_seen_all_the_same(tmp_path):
    path = tmp_path / "early.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file["x"] = 1
    with other_process(WRITE, path, "earliest"):
        assert writers([path])[path].flag == 0
    assert writers([path]) == {}


def test_a_writer_that_crashed_leaves_the_flag_and_no_process(path):
    run(CRASH, path, "latest")
    assert writers([path]) == {path: WriterState(1, None)}
    assert str(writers([path])[path]) == "marked as being written (HDF5 consistency flag)"


def test_a_write_lock_is_seen(path):
    with other_process(LOCK, path) as process:
        assert str(writers([path])[path]).endswith(f"(pid {process.pid})")
        assert str(writers([path])[path]).startswith("write-locked by")


def test_this_process_is_called_so(path):
    with path.open("r+b"):
        assert writers([path])[path].process == "open for writing by this process"


def test_a_hard_link_and_a_symbolic_link_are_the_same_file(path):
    other, link = path.with_name("hard.h5"), path.with_name("soft.h5")
    os.link(path, other)
    link.symlink_to(path)
    with other_process(WRITE, path, "latest"):
        assert set(writers([path, other, link])) == {path, other, link}


def test_looking_locks_nothing(path):
    writers([path])
    with path.open("r+b"):
        writers([path])
    assert path.stat().st_ino not in {lock.inode for lock in held_locks()}


def test_it_works_without_root(path):
    code = """
import os, sys
from pathlib import Path
from vh5d.hdf5.writers import writers
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(writers([Path(sys.argv[1])]))
"""
    for directory in path.parents:
        if directory == Path(tempfile.gettempdir()):
            break
        directory.chmod(0o755)
    with other_process(WRITE, path, "latest"):
        assert "WriterState(flag=1" in run(code, path)
