"""Sources are read without being disturbed."""

from __future__ import annotations

import errno
import os
import socket
import threading

import h5py
import numpy as np
import pytest

from tests.support.other_process import other_process, run
from vh5d.errors import SourceChangedError, SourceMissingError, SourceUnreadableError
from vh5d.hdf5.locks import held_locks
from vh5d.hdf5.source_file import SourceFile

APPEND = """
import h5py, sys
with h5py.File(sys.argv[1], "r+", locking=True) as file:
    file["more"] = 1
print("written")
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = np.arange(100_000)
    return path


def test_h5py_reads_through_it(source):
    with SourceFile(source) as opened, h5py.File(opened, "r") as file:
        assert np.array_equal(file["x"], np.arange(100_000))
        assert opened.error is None


def test_nothing_is_locked_and_an_instrument_may_open_it(source):
    with SourceFile(source) as opened, h5py.File(opened, "r") as file:
        assert file["x"][5] == 5
        assert source.stat().st_ino not in {lock.inode for lock in held_locks()}
        assert run(APPEND, source) == "written"


def test_a_plain_h5py_reader_does_keep_an_instrument_out(source):
    with h5py.File(source, "r", locking=True):
        assert source.stat().st_ino in {lock.inode for lock in held_locks()}
        assert "unable to lock file" in run(APPEND, source)


def test_it_is_readable_while_an_instrument_has_it_locked(source):
    hold = "import h5py, sys\nfile = h5py.File(sys.argv[1], 'r+', locking=True, libver='latest')"
    with other_process(hold, source), SourceFile(source) as opened:
        assert opened.superblock().writing
        assert len(opened.pread(0, opened.size)) == opened.size


def test_threads_read_exactly_what_they_ask_for(source):
    content = source.read_bytes()
    with SourceFile(source) as opened:
        found = {}

        def read(at):
            found[at] = opened.pread(at, 50_000)

        threads = [threading.Thread(target=read, args=(at,)) for at in range(0, 400_000, 50_000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(found[at] == content[at : at + 50_000] for at in found)


def test_missing_and_special_files_are_refused(tmp_path):
    fifo, sock = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    (tmp_path / "dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
        for path in (fifo, sock, tmp_path, "/dev/null"):
            with pytest.raises(SourceMissingError, match="is not a regular file"):
                SourceFile(path)
    for path in (tmp_path / "none", tmp_path / "dangling", fifo / "below"):
        with pytest.raises(SourceMissingError, match="does not exist; check the path"):
            SourceFile(path)


def test_a_file_without_permission_is_unreadable(source):
    source.chmod(0)
    code = """
import os, sys
from vh5d.errors import SourceUnreadableError
from vh5d.hdf5.source_file import SourceFile
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    SourceFile(sys.argv[1])
except SourceUnreadableError as error:
    print(error)
"""
    for directory in list(source.parents)[:3]:
        directory.chmod(0o755)
    found = run(code, source)
    assert found == f"cannot read {source}: Permission denied; give this user the right to read it"


def test_a_file_that_shrinks_is_told_of(source):
    with SourceFile(source) as opened:
        os.truncate(source, 1000)
        with pytest.raises(SourceChangedError, match="became shorter"):
            opened.pread(900, 200)
        opened.seek(900)
        buffer = bytearray(b"x" * 200)
        assert opened.readinto(buffer) == 200
        assert buffer[100:] == bytes(100)
        assert isinstance(opened.error, SourceChangedError)


def test_a_disk_that_fails_gives_zeros_and_the_first_error(source, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with SourceFile(source) as opened:
        # No file system here goes stale when asked to.
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(OSError, match="signature"):
            h5py.File(opened, "r")
        assert isinstance(opened.error, SourceUnreadableError)
        with pytest.raises(SourceUnreadableError, match="Stale file handle; check the disk or the"):
            opened.pread(0, 10)


def test_a_process_whose_reads_failed_ends_in_peace(source):
    # The error kept held HDF5's buffers by its traceback: a segmentation fault at exit.
    code = """
import h5py, os, sys
from vh5d.hdf5.source_file import SourceFile
source = SourceFile(sys.argv[1])
whole, os.preadv = os.preadv, None
try:
    h5py.File(source, "r")
except OSError:
    print(type(source.error).__name__)
os.preadv = whole
"""
    assert run(code, source) == "TypeError"


def test_past_the_end_there_are_zeros_for_hdf5_and_an_error_for_us(source):
    with SourceFile(source) as opened:
        opened.seek(0, os.SEEK_END)
        assert opened.read(4) == bytes(4)
        assert opened.error is None
        with pytest.raises(SourceChangedError):
            opened.pread(opened.size - 1, 2)
