"""Looks at the disk: one at a time, at most half of the time, never for a root that hangs."""

from __future__ import annotations

import os
import shutil
import signal
import threading

import pytest

from tests.support.service import run_vh5d
from tests.support.waiting import wait_for
from vh5d.policy import Config, Policy
from vh5d.service.watching import looks as looks_module
from vh5d.service.watching.inbox import Inbox
from vh5d.service.watching.looks import Looks
from vh5d.service.watching.rescan import Findings


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def looks(root, catalog, clock):
    config = Config(policies=(Policy(name="p", watch=(str(root),)),))
    return Looks(catalog, config, Inbox(), clock)


def done(looks):
    wait_for(lambda: not looks._thread.is_alive(), "the look")


def test_what_is_found_is_told_once(looks, root):
    (root / "a.h5").write_bytes(b"x")
    looks.begin([])
    done(looks)
    assert list(looks._inbox.take().changes) == [root / "a.h5"]
    assert list(looks.take_directories()) == [root]
    assert looks.take_directories() is None
    thread = looks._thread
    looks.begin([])
    assert looks._thread is thread, "nobody wants another"


def test_directories_that_may_not_be_read_are_told_of_once(root, tmp_path):
    bound = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may do everything, and there is no setpriv to give that up")
        bound = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    closed = [root / "a", root / "b"]
    for path in closed:
        path.mkdir(mode=0o000)
    process = run_vh5d("up", root, "--state", tmp_path / "s", "--log-format", "text", prefix=bound)
    with process:
        log = process.stdout
        assert log is not None
        said = []
        while len(said) < len(closed) and (line := log.readline()):
            said += [line] if "warning" in line else []
        process.send_signal(signal.SIGINT)
        said += log.readlines()
    told = [line.split("warning: ")[1].strip() for line in said if "warning: " in line]
    assert told == [f"{path}: may not be read: files in it are not seen" for path in closed]


def test_looks_that_are_wanted_without_end_rest_as_long_as_they_take(looks, clock, monkeypatch):
    def slow(*_args, **_options):
        clock.now += 5.0
        return Findings()

    monkeypatch.setattr(looks_module, "look", slow)
    looks.begin([])
    done(looks)
    first = looks._thread
    looks.want_everything()
    clock.now += 4.0
    looks.begin([])
    assert looks._thread is first
    clock.now += 2.0
    looks.begin([])
    assert looks._thread is not first
    done(looks)


def test_a_look_that_hangs_does_not_keep_others_from_being_looked_at(
    looks, root, clock, monkeypatch
):
    release = threading.Event()
    asked = []

    def hang(_catalog, _config, places, *, without, watched):
        asked.append((places, without))
        if not without:
            release.wait(30)
        return Findings()

    monkeypatch.setattr(looks_module, "look", hang)
    looks.begin([])
    first = looks._thread
    looks.want_everything()
    looks.begin([])
    clock.now += 60
    looks.begin([])
    assert looks._thread is first, "it may just be slow"
    looks.begin([root])
    assert looks._thread is not first
    done(looks)
    assert asked == [(None, ()), (None, (root,))]
    release.set()
    first.join(10)
