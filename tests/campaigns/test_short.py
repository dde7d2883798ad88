"""The campaigns in short: the same code with few rounds, for every change."""

from __future__ import annotations

import random

import pytest

from tests.campaigns import kills


@pytest.fixture
def seed():
    value = random.randrange(1 << 32)
    print(f"seed {value}")
    return value


@pytest.mark.timeout(240)
def test_kills_lose_nothing(tmp_path, seed):
    campaigns = kills.run(kills=8, services=1, seconds=12.0, seed=seed, directory=tmp_path)
    print("\n".join(campaign.summary() for campaign in campaigns))
    assert [loss for campaign in campaigns for loss in campaign.figures.losses] == []
    assert sum(campaign.figures.total for campaign in campaigns) >= 1
    assert any(campaign.truth.settled for campaign in campaigns)
