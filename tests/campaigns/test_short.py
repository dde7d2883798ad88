"""The campaigns in short: the same code with few rounds, for every change."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.campaigns import kills, readers, soak, swmr, torn_captures


@pytest.fixture
def seed():
    value = random.randrange(1 << 32)
    print(f"seed {value}")
    return value


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_kills_lose_nothing(tmp_path, seed):
    campaigns = kills.run(kills=6, services=1, seconds=6.0, seed=seed, directory=tmp_path)
    print("\n".join(campaign.summary() for campaign in campaigns))
    assert [loss for campaign in campaigns for loss in campaign.figures.losses] == []
    assert sum(campaign.figures.total for campaign in campaigns) >= 1
    assert any(campaign.truth.settled for campaign in campaigns)


@pytest.mark.timeout(240)
def test_captures_of_files_that_are_written_are_whole(tmp_path, seed):
    figures = torn_captures.run(128, seed, tmp_path, service_seconds=6.0)
    print(figures.summary())
    assert figures.torn == []
    assert set(figures.kept) >= {"open", "closed"}


@pytest.mark.timeout(240)
def test_captures_of_files_that_grow_are_what_a_reader_sees(tmp_path, seed):
    figures = swmr.run(6, seed, tmp_path, service_seconds=0.0)
    print(figures.summary())
    assert figures.torn == []
    assert figures.versions > 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_day_of_a_lab_is_kept(tmp_path, seed):
    figures = soak.run(1.0, 20.0, seed, tmp_path)
    print("\n".join(figures.summary()))
    assert figures.losses == []
    assert figures.kept > 20
    assert figures.nights


@pytest.mark.parametrize(
    ("numbers", "whole"),
    [
        ([5] * torn_captures.CHUNKS, True),
        ([6] * 3 + [5] * (torn_captures.CHUNKS - 3), False),
        ([5] * 3 + [6] * (torn_captures.CHUNKS - 3), None),
        ([7] * 3 + [5] * (torn_captures.CHUNKS - 3), None),
        ([6, 5] * (torn_captures.CHUNKS // 2), None),
    ],
)
def test_the_judge_knows_what_is_torn(numbers, whole):
    assert torn_captures.judge(np.repeat(numbers, torn_captures.LENGTH)) is whole


def test_the_judge_knows_a_chunk_that_is_torn_in_itself():
    numbers = np.full(torn_captures.CHUNKS * torn_captures.LENGTH, 5)
    numbers[7] = 6
    assert torn_captures.judge(numbers) is None


@pytest.mark.timeout(240)
def test_readers_during_commits_read_nothing_wrong(tmp_path, seed):
    figures = readers.run(1, seed, tmp_path, seconds=5.0)
    print(figures.summary())
    assert figures.wrong == []
    assert figures.counts["reads"] > 100
    assert figures.counts["captures"] > 0
