"""A process that is to live: started, started again, and only when all is ready."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.waiting import wait_for
from vh5d.service.running import children as children_module
from vh5d.service.running.children import Child


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(children_module, "FIRST_PAUSE", 0.01)
    made = []

    def child(**settings):
        made.append(Child("sleeper", sleeper, **settings))
        return made[-1]

    yield child
    for each in made:
        each.kill()


def sleeper():
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )


def test_a_child_that_died_is_started_again(make):
    child = make()
    child.start()
    before = child.process.pid
    child.process.kill()
    wait_for(lambda: child.tend() or (child.alive and child.process.pid != before), "another")


def test_a_child_waits_until_all_is_ready(make):
    """A worker, until the queue was cleared of what the one before had taken."""
    answers = [False, False, True]
    child = make(ready=lambda: answers.pop(0))
    child.start()
    assert not child.alive
    wait_for(lambda: child.tend() or child.alive, "the start")
    assert answers == []


def test_a_child_that_died_waits_too(make):
    ready = [True]
    child = make(ready=lambda: ready[0])
    child.start()
    before = child.process.pid
    ready[0] = False
    child.process.kill()
    child.process.wait()
    for _ in range(50):
        child.tend()
    assert not child.alive
    ready[0] = True
    wait_for(lambda: child.tend() or (child.alive and child.process.pid != before), "another")


def test_a_renewed_child_ends_in_its_own_time_and_another_takes_its_place(make):
    child = make()
    child.start()
    before = child.process
    child.renew()
    assert child.renewing
    wait_for(lambda: child.tend() or (child.alive and child.process is not before), "another")
    assert not child.renewing
    assert before.returncode == -signal.SIGTERM
    child.process.kill()
    child.process.wait()
    child.renew()
    assert not child.renewing, "it is started again as any that died"
