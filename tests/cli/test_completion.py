"""What a shell is offered, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def offered(*words: str | Path, cwd: Path) -> list[str]:
    """What bash would offer for the last of some words."""
    done = subprocess.run(
        [sys.executable, "-m", "vh5d"],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_VH5D_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(map(str, ("vh5d", *words))),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.fixture
def versions(vh5d, store):
    from vh5d.store.reader import open_store

    with open_store(store) as reader:
        names = [info.name for info in reversed(reader.versions)]
    assert len(names) > 1
    return names


def test_commands_are_offered(tmp_path):
    assert offered("ver", cwd=tmp_path) == ["verify"]


@pytest.mark.parametrize("command", ["show", "restore", "diff", "prune", "tag"])
def test_versions_are_offered_newest_first(command, source, versions, tmp_path):
    assert offered(command, source, "", cwd=tmp_path) == versions


def test_versions_that_begin_so_are_offered_and_their_tags(vh5d, source, versions, tmp_path):
    assert vh5d("tag", source, versions[0], "published").code == 0
    assert offered("show", source, "pub", cwd=tmp_path) == ["published"]
    assert offered("diff", source, versions[0], versions[1], cwd=tmp_path) == [versions[1]]


@pytest.mark.parametrize("file", ["nothing.h5", "text.h5"])
def test_where_there_are_none_nothing_is_offered_or_said(file, tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    assert offered("show", file, "", cwd=tmp_path) == []


@pytest.mark.parametrize("command", ["up", "status", "events", "doctor"])
def test_directories_are_left_to_the_shell(command, tmp_path):
    assert offered(command, "da", cwd=tmp_path) == ["da"]
