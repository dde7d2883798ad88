from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vh5d.errors import AlreadyRunningError, ServiceError
from vh5d.service.running.state import (
    Description,
    describe,
    description_of,
    directory_for,
    hold,
    is_running,
    known_states,
    root_lock,
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_directory_is_named_after_the_root_and_its_own(tmp_path, home):
    first, second = tmp_path / "a" / "run 1", tmp_path / "b" / "run 1"
    assert directory_for(first).parent == home / "vh5d"
    assert directory_for(first).name.startswith("run-1-")
    assert directory_for(first) != directory_for(second)


def test_one_root_by_two_names_has_one_directory(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert directory_for(tmp_path / "real") == directory_for(tmp_path / "link")
    assert root_lock(tmp_path / "real", beside_stores=False) == root_lock(
        tmp_path / "link", beside_stores=False
    )


def test_a_lock_is_held_once_and_says_by_whom(tmp_path):
    held = hold(tmp_path / "state" / "lock", "the state directory is in use")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    with pytest.raises(AlreadyRunningError, match=rf"in use.*process {os.getpid()}.*kill"):
        hold(tmp_path / "state" / "lock", "the state directory is in use")
    assert is_running(tmp_path / "state")
    held.release()
    assert not is_running(tmp_path / "state")
    hold(tmp_path / "state" / "lock", "").release()


def test_a_lock_ends_with_its_process(tmp_path):
    code = (
        "import sys, os; from pathlib import Path; from vh5d.service.running.state import hold\n"
        "hold(Path(sys.argv[1]), ''); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "lock"], check=False)
    hold(tmp_path / "lock", "").release()


def test_a_lock_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match="--state DIR"):
        hold(tmp_path / "file" / "lock", "")


def test_a_lock_is_not_followed_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ServiceError):
        hold(tmp_path / "lock", "")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_description_is_found_again(home):
    state = directory_for(Path("/data"))
    state.mkdir(parents=True)
    told = Description(pid=1, broker="unix:///s", watch=["/data"], config=None, started=1.0)
    describe(state, told)
    assert description_of(state) == told
    assert known_states() == [state]


@pytest.mark.parametrize("content", ["", "[]", "{}", "nonsense"])
def test_a_broken_description_is_none(tmp_path, content):
    (tmp_path / "service.json").write_text(content)
    assert description_of(tmp_path) is None
