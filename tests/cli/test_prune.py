"""`vh5d prune` and `vh5d compact`."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT
from vh5d.store.reader import open_store


@pytest.fixture
def three(source, store, vh5d):
    """The store of `source`, with three versions."""
    source.touch()
    source.write_bytes(source.read_bytes() + b"a tail")
    assert vh5d("snapshot", source).code == 0
    return store


def names(store):
    with open_store(store) as reader:
        return [version.name for version in reader.versions]


def on_a_terminal(arguments, answer, cwd):
    """Run a command that may ask; return its exit status and what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "vh5d", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.write(ours, answer.encode())
    shown, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return process.returncode, shown


def test_versions_are_dropped_by_name_number_and_prefix(source, three, vh5d):
    done = vh5d("prune", source, "-2", "v1", "--yes")
    assert done.code == 0
    assert "dropped v1, v2; 1 version left" in done.out
    assert names(three) == ["v3"]


def test_dry_run_drops_nothing(source, three, vh5d):
    before = three.read_bytes()
    done = vh5d("prune", source, "v1", "--dry-run")
    assert done.code == 0
    assert "would drop v1; 2 versions would stay" in done.out
    assert three.read_bytes() == before


def test_json_tells_what_came_back(source, three, vh5d):
    foreseen = vh5d("prune", source, "v1", "--dry-run", "--json").json
    done = vh5d("prune", source, "v1", "--yes", "--json").json
    assert done.pop("seconds") >= 0
    assert foreseen.pop("dry_run")
    assert not done.pop("dry_run")
    foreseen.pop("seconds")
    assert foreseen.pop("bytes_left") >= 0
    assert done.pop("bytes_left") >= 0
    assert foreseen == done
    assert done.pop("bytes_returned") >= 0
    assert done.pop("chunks_dropped") > 0
    assert done == {
        "store": str(three),
        "dropped": ["v1"],
        "kept": ["v2", "v3"],
        "returned": True,
        "hint": None,
    }


@pytest.mark.parametrize("command", [("prune", "v1"), ("compact",)])
def test_without_a_terminal_it_wants_to_be_told(source, three, vh5d, command):
    name, *versions = command
    before = three.read_bytes()
    done = vh5d(name, source, *versions)
    assert done.code == 2
    assert "say --yes" in done.line
    assert three.read_bytes() == before


def test_on_a_terminal_it_asks(source, three, tmp_path):
    code, shown = on_a_terminal(["prune", source, "v1"], "n\n", tmp_path)
    assert code == 1
    assert "Drop v1 of" in shown
    assert "nothing was changed" in shown
    assert names(three) == ["v1", "v2", "v3"]
    code, shown = on_a_terminal(["prune", source, "v1"], "y\n", tmp_path)
    assert code == 0, shown
    assert names(three) == ["v2", "v3"]


def test_the_last_version_stays(source, three, vh5d):
    done = vh5d("prune", source, "v1", "v2", "v3", "--yes")
    assert done.code == 2
    assert "no version would be left" in done.line
    assert names(three) == ["v1", "v2", "v3"]


def test_unknown_versions_are_refused(source, three, vh5d):
    done = vh5d("prune", source, "v9", "--yes")
    assert done.code == 2
    assert "v9" in done.line


def test_naming_no_version_drops_none(source, three, vh5d):
    done = vh5d("prune", source)
    assert done.code == 0
    assert "dropped nothing; 3 versions left" in done.out


def test_compact_rewrites_the_store(source, three, vh5d):
    assert vh5d("prune", source, "v1", "v2", "--yes").code == 0
    foreseen = vh5d("compact", source, "--dry-run", "--json").json
    done = vh5d("compact", source, "--yes", "--json").json
    assert (foreseen["dry_run"], done["dry_run"]) == (True, False)
    assert done["versions"] == 1
    assert done["bytes_after"] <= foreseen["bytes_after"] <= done["bytes_before"]
    assert vh5d("verify", source).code == 0
    text = vh5d("compact", source, "--yes").out
    assert "1 version" in text
    assert "became" in text


def test_the_oldest_version_that_is_left_is_not_called_the_first(vh5d, source, store):
    assert vh5d("log", source).out.splitlines()[-1].endswith("the first version")
    assert vh5d("prune", source, "v1", "--yes").code == 0
    assert vh5d("log", source).out.splitlines()[-1].endswith("the oldest that is left")
