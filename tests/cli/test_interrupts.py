"""Long work: Ctrl-C leaves everything as it was, and says so; a terminal shows how it goes."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cli.conftest import ROOT
from vh5d.capture.capture import capture
from vh5d.interop.exporting import export_file
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

#: Ctrl-C when the work tells of its progress for the first time.
INTERRUPT = """
import os, signal, sys
import vh5d.cli.progress as module
from vh5d.cli import main
sent = []
def soon(self, done, total, *, told=module.Watch.{method}):
    if not sent:
        sent.append(1)
        os.kill(os.getpid(), signal.SIGINT)
    told(self, done, total)
module.Watch.{method} = soon
main()
"""
#: Seconds are long on a terminal that nobody waits at.
AT_ONCE = """
import vh5d.cli.progress as module
from vh5d.cli import main
module.PATIENCE_S = 0
main()
"""


def run(code, arguments, cwd, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def state(directory: Path):
    """What lies in a directory, byte for byte."""
    return {
        path.relative_to(directory): hashlib.sha256(path.read_bytes()).digest()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A file of 12 MiB, and its store of three versions; the file changed since."""
    directory = tmp_path_factory.mktemp("lab")
    source, store = directory / "run.h5", directory / ".vh5d" / "run.h5"
    store.parent.mkdir()
    random = np.random.default_rng(1)
    for i in range(4):
        with h5py.File(source, "w") as file:
            data = random.integers(0, 255, (12, 1 << 20), np.uint8)
            file.create_dataset("x", data=data, chunks=(1, 1 << 20))
        if i < 3:
            capture(source, store)
    export_file(store, directory / "theirs.h5")
    return directory


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["snapshot", "run.h5"], "run.h5 was not captured"),
        (["restore", "run.h5", "v1", "-o", "back.h5"], "nothing was changed"),
        (["verify", "run.h5"], "not all was checked"),
        (["compact", "run.h5", "--yes"], "nothing was changed"),
        (["prune", "run.h5", "v1", "--yes"], "nothing was changed"),
        (["prune", "run.h5", "--keep-last", "1", "--yes"], "it was not pruned"),
        (["export", "run.h5", "new.h5"], "nothing was changed"),
        (["import", "theirs.h5", "new.h5"], "nothing was changed"),
    ],
)
def test_an_interrupt_leaves_everything_as_it_was(lab, arguments, said):
    before = state(lab)
    method = "begun" if arguments[0] == "prune" else "__call__"
    done = run(INTERRUPT.format(method=method), arguments, lab, capture_output=True)
    assert done.returncode == 130
    assert done.stderr.startswith("vh5d: interrupted; ")
    assert done.stderr.endswith(f"{said}\n")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert state(lab) == before
    assert verify(lab / ".vh5d/run.h5").ok


def test_a_background_job_goes_on(lab):
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    interrupting = code + INTERRUPT.format(method="__call__")
    done = run(interrupting, ["verify", "run.h5"], lab, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_second_interrupt_ends_it_at_once(lab):
    """As a crash would: the store is as it was."""
    twice = INTERRUPT.format(method="__call__").replace(
        "os.kill(os.getpid(), signal.SIGINT)\n",
        "[os.kill(os.getpid(), signal.SIGINT) for _ in 'ab']\n",
    )
    done = run(twice, ["snapshot", "run.h5"], lab, capture_output=True)
    assert done.returncode == -signal.SIGINT
    assert verify(lab / ".vh5d/run.h5").ok
    with open_store(lab / ".vh5d/run.h5") as reader:
        assert len(reader.versions) == 3


def test_what_was_done_by_then_stays_and_is_told(lab, tmp_path):
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["x"] = np.arange(10)
    late = INTERRUPT.replace("told(self, done, total)\n", "pass\n")
    done = run(
        late.format(method="__call__"), ["snapshot", "a.h5", "b.h5"], tmp_path, capture_output=True
    )
    assert done.returncode == 130
    assert done.stdout.startswith("a.h5: v1")
    assert done.stderr == "vh5d: interrupted; b.h5 and what follows were not captured\n"


@pytest.mark.parametrize(
    "arguments", [["verify", "run.h5"], ["restore", "run.h5", "v1", "-o", "back.h5", "--force"]]
)
def test_a_terminal_shows_rate_and_time_left(lab, tmp_path, arguments):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", AT_ONCE, *arguments],
        cwd=lab,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        shown += part
    os.close(ours)
    assert process.wait(60) == 0
    (lab / "back.h5").unlink(missing_ok=True)
    text = shown.decode()
    assert "MiB" in text
    assert "/s" in text
    assert ":" in text.split("/s", 1)[1]
