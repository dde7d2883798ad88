"""Whatever is done to a file of versions, every version stays what it was.

The long form is `python -m tests.campaigns.versions`.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.version_machine import OwnFileMachine, VersionMachine

SHORT = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # finding the shortest program takes minutes: the campaign does it
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("machine", [VersionMachine, OwnFileMachine])
def test_every_version_stays_what_it_was(machine):
    run_state_machine_as_test(seed(20_261)(machine), settings=SHORT)
