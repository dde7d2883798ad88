"""A source is only read: what the kernel saw of a capture, and what a writer notices."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.other_process import run
from tests.support.swmr_writer import SwmrWriter
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.errors import SourceError
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

ROOT = Path(__file__).parents[2]
#: Everything that can be done to a source without reading it: on its descriptor, or by its name.
READS = {"read", "pread64", "preadv", "preadv2", "lseek", "fstat", "newfstatat", "statx", "close"}
BY_NAME = {"openat", "open", "newfstatat", "stat", "lstat", "statx", "readlink", "readlinkat"}
#: fcntl on a descriptor: none of these locks (F_SETLK, F_OFD_SETLK, F_SETLEASE do).
HARMLESS = re.compile(r"F_GETFD|F_SETFD, FD_CLOEXEC|F_GETFL|F_DUPFD_CLOEXEC")


def make(path, mode="earliest"):
    with h5py.File(path, "w", libver=mode) as file:
        file.create_dataset("chunked", data=np.arange(50_000), chunks=(5_000,), compression="gzip")
        file["contiguous"] = np.arange(50_000)
        file["group/text"] = ["variable", "length"]
        file.attrs["note"] = "an attribute"


def traced(tmp_path, *arguments):
    """Run vh5d under strace: (call, arguments, result) of every call of every thread."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    log = tmp_path / "trace"
    options = ["-f", "-y", "-s", "0", "-e", "trace=%desc,%file", "-o", str(log)]
    done = subprocess.run(
        ["strace", *options, sys.executable, "-m", "vh5d", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip(f"may not trace: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return calls(log.read_text(errors="replace"))


def calls(text):
    pending = {}
    for line in text.splitlines():
        pid, rest = line.split(maxsplit=1)
        if rest.endswith("<unfinished ...>"):
            pending[pid] = rest.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", rest)
        if resumed:
            rest = pending.pop(pid) + resumed[1]
        found = re.match(r"(\w+)\((.*)\)\s+= (.*)", rest)
        if found:
            yield found.groups()


def of(source, trace):
    """Return the calls about a file: by its descriptor, and by its name."""
    by_descriptor, by_name = [], []
    for name, arguments, result in trace:
        if re.match(rf"\d+<{re.escape(str(source))}>", arguments):
            by_descriptor.append((name, arguments))
        elif f'"{source}"' in arguments:
            by_name.append((name, arguments, result))
        else:
            # Named in no other way: a second descriptor in a call such as copy_file_range.
            assert f"<{source}>" not in arguments, (name, arguments)
    return by_descriptor, by_name


@pytest.mark.parametrize("mode", ["earliest", "latest"])
def test_a_capture_takes_no_lock_on_the_source_and_writes_nothing_to_it(tmp_path, mode):
    source = tmp_path / "source.h5"
    make(source, mode)
    before = source.stat()
    only_reads(source, traced(tmp_path, "snapshot", source))
    after = source.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_nor_does_one_of_a_file_that_grows(tmp_path):
    source = tmp_path / "source.h5"
    with SwmrWriter(source) as writer:
        writer.add(20)
        before = source.stat()
        trace = list(traced(tmp_path, "snapshot", "--swmr", source))
        only_reads(source, trace)
        # HDF5 opens it once more, by the descriptor that we have.
        again = [
            arguments
            for name, arguments, result in trace
            if name.startswith("open") and result.endswith(f"<{source}>")
        ]
        assert any("/proc/self/fd/" in arguments for arguments in again)
        assert all("O_RDONLY" in arguments for arguments in again)
        assert source.stat().st_mtime_ns == before.st_mtime_ns
        writer.add(1)
        writer.close()


def only_reads(source, trace):
    by_descriptor, by_name = of(source, trace)
    assert len(by_descriptor) > 10
    for name, arguments in by_descriptor:
        if name == "fcntl":
            assert HARMLESS.search(arguments), arguments
        elif name == "mmap":
            assert "PROT_WRITE" not in arguments or "MAP_PRIVATE" in arguments, arguments
        else:
            assert name in READS, (name, arguments)
    opened = [arguments for name, arguments, _ in by_name if name.startswith("open")]
    assert opened
    for arguments in opened:
        assert "O_RDONLY" in arguments, arguments
        assert not re.search("O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)", arguments), arguments
    assert {name for name, _, _ in by_name} <= BY_NAME


def test_the_same_eyes_do_see_a_lock(tmp_path):
    source = tmp_path / "source.h5"
    make(source)
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    log = tmp_path / "trace"
    code = "import h5py, sys; h5py.File(sys.argv[1], 'r', locking=True)"
    command = [sys.executable, "-c", code, str(source)]
    options = ["-f", "-y", "-e", "trace=%desc,%file", "-o", str(log)]
    subprocess.run(["strace", *options, *command], check=True, capture_output=True)
    by_descriptor, _ = of(source, calls(log.read_text(errors="replace")))
    assert {name for name, _ in by_descriptor} - READS >= {"flock"}


INSTRUMENT = """
import sys
import h5py
for number in range(int(sys.argv[2])):
    with h5py.File(sys.argv[1], "r+", locking=True) as file:
        file["counted"][...] = number
print("done")
"""


def test_a_writer_that_opens_and_closes_a_thousand_times_never_fails(tmp_path):
    source, store = tmp_path / "source.h5", tmp_path / "store.h5"
    with h5py.File(source, "w") as file:
        file["counted"] = np.zeros(1000, int)
    said = []
    instrument = threading.Thread(target=lambda: said.append(run(INSTRUMENT, source, 1000)))
    instrument.start()
    attempts = kept = 0
    while instrument.is_alive():
        attempts += 1
        try:
            options = CaptureOptions(busy="try", threads=1)
            kept += capture(source, store, options=options).changed
        except SourceError:
            continue
    instrument.join()
    assert said == ["done"]
    assert attempts > 0
    kept += capture(source, store).changed
    assert verify(store).ok
    with open_store(store) as reader:
        assert len(reader.versions) == kept
        for version in reader.versions:
            values = reader.file[f"_version_data/versions/{version.name}"]
            if version.kept_as == "tree":
                assert len(np.unique(values["counted"][()])) == 1
        assert (values["counted"][()] == 999).all()
