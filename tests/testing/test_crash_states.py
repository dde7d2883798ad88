"""The campaign of `tests.campaigns.crash_states`, in seconds instead of minutes."""

from __future__ import annotations

import pytest

from tests.campaigns.crash_states import Campaign, Unit
from tests.support.crash_scenes import SCENES, scratch
from tests.support.crash_trials import Trials
from vh5d.testing.faults import KILLED

SEED = 4
LONG = {"history", "tagged", "moved", "imported", "repaired"}
"""Scenes of so many operations that only some of their states are tried here."""


@pytest.fixture(scope="module")
def recorded():
    with scratch() as root:
        made = {}
        for name in SCENES:
            (root / name).mkdir()
            made[name] = Trials(name, root / name, seed=SEED)
        yield made


def no_failures(trials):
    found, trials.tally.failures = trials.tally.failures, []
    assert found == []


@pytest.mark.parametrize("name", SCENES)
def test_a_power_cut_or_kill_at_every_operation_leaves_the_old_state_or_the_new(recorded, name):
    trials = recorded[name]
    choices = [KILLED, 0, 6] if name in LONG else [KILLED, *range(9)]
    for span in trials.spans:
        trials.crash(span, choices)
    no_failures(trials)
    assert trials.tally.outcomes["old"] > 10
    assert trials.tally.outcomes["new"] > 10


@pytest.mark.parametrize("name", [name for name in SCENES if name not in LONG])
def test_a_crash_of_the_recovery_at_every_operation_does_too(recorded, name):
    trials = recorded[name]
    for span in trials.spans:
        trials.crash_again(span, [KILLED, 6], [0, 6])
        trials.crash_again(span, [KILLED], [0], retry=span.step.kind == "create")
    no_failures(trials)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("history", "capture"),
        ("history", "prune"),
        ("history", "compact"),
        ("imported", "import"),
        ("moved", "move"),
        ("repaired", "repair"),
    ],
)
def test_recovery_from_a_crash_of_the_last_calls_of_a_step(recorded, name, kind):
    trials = recorded[name]
    span = next(span for span in trials.spans if span.step.kind == kind)
    for at in range(span.stop - 20, span.stop):
        trials.crash_again(span, [KILLED], [0, 6], at=at)
    no_failures(trials)


def test_errors_at_some_calls_are_told_and_leave_the_old_state_or_the_new():
    # In another process: libhdf5 may die of what it is given.
    with scratch() as root:
        campaign = Campaign(root, SEED, jobs=1)
        units = [Unit("fail", "edits", step, SEED, 30) for step in range(5)]
        campaign.run([*units, *(Unit("fail", "history", step, SEED, 500) for step in range(9))])
        campaign.pool.shutdown()
    assert campaign.tally.failures == []
    assert campaign.tally.errors.total() > 40
    assert campaign.tally.outcomes["refused"] > 10
