"""Whatever is wrong: one line, the right exit code, and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cli.conftest import ROOT, change, in_process
from tests.support.other_process import other_process
from vh5d.hdf5.journal import journal_path

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def unprivileged(tmp_path):
    """How to run as somebody who may not do everything."""
    if not AS_ROOT:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root may do everything, and there is no setpriv to be somebody else")
    for each in (tmp_path, *list(tmp_path.parents)[:2]):
        each.chmod(0o755)
    return ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def obedient():
    """How to run as ourselves, but bound by permissions."""
    if not AS_ROOT:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root may do everything, and there is no setpriv to give that up")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def may_run_here(prefix) -> bool:
    """Whether that user can run this interpreter and read the package at all."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", "import vh5d.cli"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


# Sources


def test_a_missing_file(vh5d, tmp_path):
    done = vh5d("snapshot", "none.h5")
    assert (done.code, done.out) == (1, "")
    assert done.line == f"vh5d: {tmp_path}/none.h5 does not exist; check the path"
    assert not (tmp_path / ".vh5d").exists()


@pytest.mark.parametrize("command", ["log", "show", "restore", "verify"])
def test_a_missing_file_without_a_store(vh5d, tmp_path, command):
    done = vh5d(command, "none.h5")
    assert done.code == 1
    assert "does not exist, and has no versions" in done.line


def test_a_directory(vh5d, tmp_path):
    done = vh5d("snapshot", tmp_path)
    assert done.code == 1
    assert "is not a regular file; name an HDF5 file" in done.line


def test_an_unreadable_file(source, tmp_path, unprivileged):
    if not may_run_here(unprivileged):
        pytest.skip("another user cannot run this Python")
    source.chmod(0o000 if not AS_ROOT else 0o600)
    tmp_path.chmod(0o777)
    done = in_process(["snapshot", source], cwd=tmp_path, prefix=unprivileged)
    assert done.code == 1
    assert "cannot read" in done.line
    assert "Permission denied; give this user the right to read it" in done.line
    assert not (tmp_path / ".vh5d" / "run.h5").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not an HDF5 file"), (b"just some text\n" * 1000, "not an HDF5 file")],
    ids=["empty", "text"],
)
def test_a_file_that_is_not_hdf5_is_kept_by_its_bytes(vh5d, tmp_path, content, reason):
    (tmp_path / "x.h5").write_bytes(content)
    done = vh5d("snapshot", "x.h5", "--json")
    assert done.code == 0
    assert reason in done.line
    assert done.json["kept_as"] == "bytes"
    assert vh5d("restore", "x.h5", "-o", "y.h5").code == 0
    assert (tmp_path / "y.h5").read_bytes() == content
    assert "no tree" in vh5d("show", "x.h5").out
    assert vh5d("verify", "x.h5").code == 0
    assert vh5d("log", "x.h5").code == 0
    assert vh5d("diff", "x.h5", "-1").out == "the same, byte for byte\n"


def test_a_truncated_file_is_kept_by_its_bytes(vh5d, source, store, tmp_path):
    with source.open("r+b") as file:
        file.truncate(source.stat().st_size // 2)
    half = source.read_bytes()
    done = vh5d("snapshot", source, "--json")
    assert done.code == 0
    assert "truncated" in done.line
    assert done.json["kept_as"] == "bytes"
    assert vh5d("restore", source, "-o", "out.h5").code == 0
    assert (tmp_path / "out.h5").read_bytes() == half
    assert vh5d("diff", source, "v2", "v3").out.startswith("the bytes differ; one of the two")
    assert "the bytes of the file" in vh5d("log", source).out


HOLD = """
import sys, h5py
file = h5py.File(sys.argv[1], "r+")
file["held"] = 1
file.flush()
"""


def test_a_file_that_a_writer_has_open(vh5d, source, tmp_path):
    with other_process(HOLD, source):
        done = vh5d("snapshot", source)
        assert done.code == 1
        assert "pid" in done.line
        assert "wait until it is closed, or say --busy" in done.line
        assert not (tmp_path / ".vh5d" / "run.h5").exists()
        assert vh5d("snapshot", source, "--busy").code == 0
    assert vh5d("verify", source).code == 0


# Stores


@pytest.mark.skipif(not AS_ROOT, reason="mounting takes root")
def test_a_full_disk(vh5d, source, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = small / "s.h5"
        assert vh5d("snapshot", source, "--store", store).code == 0
        before = store.read_bytes()
        with h5py.File(source, "r+") as file:
            file["noise"] = np.random.default_rng(0).random(100_000)
        done = vh5d("snapshot", source, "--store", store)
        assert done.code == 1
        assert "No space left" in done.line
        assert store.read_bytes() == before
        assert sorted(small.iterdir()) == [store]
        assert vh5d("verify", store).code == 0
        assert vh5d("snapshot", source, "--store", tmp_path / "big.h5").code == 0
        done = vh5d("restore", tmp_path / "big.h5", "-o", small / "out.h5")
        assert done.code == 1
        assert "No space left" in done.line
        assert sorted(small.iterdir()) == [store]
        assert vh5d("verify", store).code == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("command", ["log", "show", "restore", "verify", "diff"])
def test_a_store_that_may_not_be_read_is_not_taken_for_none(source, store, obedient, command):
    store.chmod(0o000)
    more = ["v1"] if command == "diff" else ["-o", "x.h5"] if command == "restore" else []
    done = in_process([command, source, *more], cwd=source.parent, prefix=obedient)
    assert done.code == 1
    assert f"{store}: Permission denied" in done.line


def test_verify_of_a_directory_does_not_pass_over_what_may_not_be_read(
    source, store, tmp_path, vh5d, obedient
):
    shutil.copy(source, tmp_path / "other.h5")
    assert vh5d("snapshot", "other.h5").code == 0
    store.chmod(0o000)
    done = in_process(["verify", tmp_path], cwd=tmp_path, prefix=obedient)
    assert done.code == 1
    assert f"{store}: Permission denied" in done.line
    assert "other.h5: all is well" in done.out
    (tmp_path / "closed").mkdir(mode=0o000)
    done = in_process(["verify", "closed"], cwd=tmp_path, prefix=obedient)
    assert done.code == 1
    assert "closed: Permission denied" in done.line


@pytest.mark.parametrize("command", ["log", "show", "restore", "diff"])
def test_a_directory_is_told_from_a_file_without_versions(vh5d, tmp_path, command):
    done = vh5d(command, tmp_path, *(["v1"] if command == "diff" else []))
    assert done.code == 2
    assert done.line == f"vh5d: {tmp_path}: is a directory; name a file in it, or a store"


def test_no_permission_on_the_directory_of_the_store(source, tmp_path, unprivileged):
    if not may_run_here(unprivileged):
        pytest.skip("another user cannot run this Python")
    source.chmod(0o644)
    tmp_path.chmod(0o555)
    done = in_process(["snapshot", source], cwd=tmp_path, prefix=unprivileged)
    tmp_path.chmod(0o755)
    assert done.code == 1
    assert "Permission denied" in done.line
    assert sorted(tmp_path.iterdir()) == [source]


def test_a_store_that_may_be_read_only_can_be_read(source, tmp_path, unprivileged, vh5d):
    if not may_run_here(unprivileged):
        pytest.skip("another user cannot run this Python")
    source.chmod(0o644)
    assert vh5d("snapshot", source).code == 0
    (tmp_path / ".vh5d").chmod(0o555)
    for command in (["log"], ["show"], ["verify"]):
        done = in_process([*command, source], cwd=tmp_path, prefix=unprivileged)
        assert (done.code, done.err) == (0, ""), command
    change(source)
    done = in_process(["snapshot", source], cwd=tmp_path, prefix=unprivileged)
    (tmp_path / ".vh5d").chmod(0o755)
    assert done.code == 1
    assert "Permission denied" in done.line


@pytest.mark.parametrize("command", ["log", "show", "restore", "verify"])
def test_a_store_that_is_not_one(vh5d, source, tmp_path, command):
    (tmp_path / "text").write_text("no store\n")
    for name, said in [("text", "not an HDF5 file"), ("run.h5", "not a vh5d store")]:
        done = vh5d(command, "x.h5", "--store", name)
        assert done.code == 1
        assert said in done.line


def test_a_snapshot_into_what_is_no_store_leaves_it_alone(vh5d, source, tmp_path):
    other = Path(shutil.copy(source, tmp_path / "other.h5"))
    (tmp_path / "text").write_text("no store\n")
    for path, said in [(other, "not a vh5d store"), (tmp_path / "text", "not an HDF5 file")]:
        before = path.read_bytes()
        done = vh5d("snapshot", source, "--store", path)
        assert done.code == 1
        assert said in done.line
        assert path.read_bytes() == before


def test_a_snapshot_of_a_store(vh5d, store):
    done = vh5d("snapshot", store)
    assert done.code == 2
    assert "is a store itself" in done.line


def test_a_store_of_versioned_hdf5(vh5d, source, tmp_path):
    versioned = pytest.importorskip("versioned_hdf5")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        history = versioned.VersionedHDF5File(file)
        with history.stage_version("a") as group:
            group["x"] = np.arange(10)
    before = (tmp_path / "v.h5").read_bytes()
    assert vh5d("log", "v.h5").out.splitlines()[1].startswith("a ")
    for command in (["restore", "-o", "o.h5"], ["verify"], ["diff", "a"], ["snapshot"]):
        file = source if command == ["snapshot"] else "x"
        done = vh5d(command[0], file, *command[1:], "--store", "v.h5")
        assert done.code == 1
        assert "written by versioned-hdf5" in done.line
    assert (tmp_path / "v.h5").read_bytes() == before


def test_a_damaged_store(vh5d, store):
    with store.open("r+b") as file:
        file.truncate(store.stat().st_size - 1000)
    for command in (["log"], ["show"], ["restore", "-o", "out.h5"]):
        done = vh5d(command[0], store, *command[1:])
        assert done.code == 1
        assert "truncated" in done.line
    done = vh5d("verify", store)
    assert done.code == 1
    assert "1 problem" in done.out


CRASH = """
import os, signal, sys
from vh5d.hdf5.disk import Disk
from vh5d.capture.capture import capture

class Dying(Disk):
    def unlink(self, path):
        if str(path).endswith("journal"):
            os.kill(os.getpid(), signal.SIGKILL)
        super().unlink(path)

import vh5d.hdf5.atomic_file as atomic_file
atomic_file.Disk = Dying
capture(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("command", ["log", "show", "verify", "snapshot"])
def test_a_store_that_a_crash_left_in_a_commit_is_recovered_and_that_is_said(
    vh5d, source, tmp_path, command
):
    assert vh5d("snapshot", source).code == 0
    store = tmp_path / ".vh5d" / "run.h5"
    change(source)
    died = subprocess.run(
        [sys.executable, "-c", CRASH, str(source), str(store)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert journal_path(store).exists()
    done = vh5d(command, source)
    assert done.code == 0
    assert "has been finished" in done.line
    assert not journal_path(store).exists()
    assert vh5d("log", source).err == ""
    assert len(vh5d("log", source, "--json").json["versions"]) == 2
    assert vh5d("verify", source).code == 0


# Versions and targets


def test_an_unknown_version(vh5d, source, store):
    for command in (["show", source, "v9"], ["diff", source, "v9"], ["restore", source, "v9"]):
        done = vh5d(*command)
        assert (done.code, done.out) == (2, "")
        assert "no version 'v9'; `vh5d log` lists them; the newest is 'v2'" in done.line
    done = vh5d("show", source, "-7")
    assert done.code == 2
    assert "no version -7: there are 2" in done.line


def test_an_ambiguous_prefix(vh5d, source, store):
    done = vh5d("show", source, "v")
    assert done.code == 2
    assert "'v' could be v1, v2; write more of the name" in done.line


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2026-11-24 09:30 Mars/Olympus", "'Mars/Olympus' is not a time zone"),
        ("2026-11-24 09:30 ../../etc/passwd", "is not a time"),
        ("tomorrow", "'tomorrow' is not a time"),
        ("2026-02-30", "is not a time"),
        ("2026-11-24T09:30Z Europe/Berlin", "has an offset and a zone"),
        ("1999-12-31", "no version is as old as 1999-12-31"),
        ("", "'' is not a time"),
    ],
)
def test_a_time_that_is_none(vh5d, source, store, time, said):
    done = vh5d("restore", source, "--at", time, "-o", "out.h5")
    assert done.code == 2
    assert said in done.line
    assert not Path("out.h5").exists()


def test_a_target_that_exists(vh5d, source, store, tmp_path):
    target = tmp_path / "out.h5"
    target.write_text("precious")
    for more in ([], ["--dataset", "frames"]):
        done = vh5d("restore", source, "-o", target, *more)
        assert done.code == 2
        assert "exists already; choose another, or say --force" in done.line
        assert target.read_text() == "precious"
    assert vh5d("restore", source, "-o", target, "--force").code == 0


def test_a_target_in_a_directory_that_is_not_there(vh5d, source, store):
    done = vh5d("restore", source, "-o", "no/such/out.h5")
    assert done.code == 1
    assert "make its directory first" in done.line


# Use


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["log"],
        ["log", "--nonsense", "x"],
        ["show", "x", "y", "z"],
        ["snapshot", "x", "--compression", "magic"],
        ["completion", "tcsh"],
        ["snapshot", "a", "b", "--store", "s"],
        ["log", "x", "--config", "none.yaml"],
    ],
)
def test_wrong_use(vh5d, arguments):
    done = vh5d(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.line


def test_a_wrong_configuration_is_told_once(vh5d, source, tmp_path):
    (tmp_path / "c.yaml").write_text("policies:\n  - watch: .\n    settle: soon\n")
    done = vh5d("snapshot", source, source, "--config", "c.yaml")
    assert done.code == 2
    assert "c.yaml:3" in done.line


def test_the_unexpected_is_one_line_too_and_debug_shows_where(source, store, tmp_path):
    code = (
        "import sys, vh5d.store.reader\n"
        "def broken(*a, **k): raise ZeroDivisionError('oops')\n"
        "vh5d.store.reader.open_store = broken\n"
        "from vh5d.cli import main\n"
        "main()\n"
    )

    def run(*more):
        return subprocess.run(
            [sys.executable, "-c", code, *more, "log", str(source)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run()
    assert done.returncode == 1
    assert done.stderr == (
        "vh5d: internal error: ZeroDivisionError: oops; say --debug to see where\n"
    )
    assert "Traceback" in run("--debug").stderr


def test_an_interrupt(source, tmp_path):
    code = (
        "import os, signal, vh5d.capture.capture as c\n"
        "def stopped(*a, progress, **k): os.kill(os.getpid(), signal.SIGINT), progress(1, 2)\n"
        "c.capture = stopped\n"
        "from vh5d.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "snapshot", str(source)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == f"vh5d: interrupted; {source} was not captured\n"


def test_a_full_standard_output(source, store, tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vh5d", "show", str(source)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "vh5d: No space left on device\n"


def test_a_diff_with_a_file_that_is_gone(vh5d, source, store):
    source.unlink()
    done = vh5d("diff", source, "v1")
    assert done.code == 2
    assert done.line == f"vh5d: {source}: is gone, and cannot be compared; name a second version"
    assert vh5d("diff", source, "v1", "v2").code == 0


@pytest.mark.parametrize("command", ["up", "status", "doctor", "worker"])
def test_a_configuration_in_place_of_a_directory(vh5d, tmp_path, command):
    (tmp_path / "vh5d.yaml").write_text("policies: [{watch: data}]\n")
    done = vh5d(command, "vh5d.yaml")
    assert done.code == 2
    assert done.line == "vh5d: vh5d.yaml is no directory; say --config vh5d.yaml"


def test_a_command_that_is_nearly_one(vh5d):
    done = vh5d("statu")
    assert done.code == 2
    assert done.line == "vh5d: No such command 'statu', did you mean status; see `vh5d --help`"


def test_choices_are_listed_in_one_line(vh5d):
    done = vh5d("completion")
    assert done.code == 2
    assert done.line.startswith("vh5d: Missing argument 'SHELL'. Choose from: bash, zsh, fish; ")


@pytest.mark.parametrize(
    ("encoding", "infinite"),
    [("ascii", "\N{INFINITY}"), ("latin-1", r"\u221e")],  # click writes UTF-8 in place of ASCII
)
def test_a_terminal_that_lacks_characters(tmp_path, vh5d, encoding, infinite):
    path = tmp_path / "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=[1], maxshape=(None,))
    assert vh5d("snapshot", path).code == 0
    legacy = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    for utf8 in "01":
        env = {**legacy, "PYTHONUTF8": utf8}
        for command, said in (("show", f"at most ({infinite})"), ("status", "current  v1 ")):
            argument = path if command == "show" else tmp_path
            done = in_process([command, argument], cwd=tmp_path, env=env, errors="replace")
            assert (done.code, done.err) == (0, "")
            assert said in done.out


def test_an_import_of_what_holds_no_versions(vh5d, source, tmp_path):
    done = vh5d("import", source, tmp_path / "new.h5")
    assert done.code == 1
    assert done.line == (
        f"vh5d: {source}: holds no versions of versioned-hdf5; "
        "`vh5d snapshot` keeps versions of any HDF5 file"
    )
