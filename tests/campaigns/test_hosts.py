"""The campaign of three hosts in short."""

from __future__ import annotations

import random
import shutil

import h5py
import pytest

from tests.campaigns import hosts
from tests.support.truth import Truth
from vh5d.capture.capture import capture


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_hosts_lose_nothing_and_keep_nothing_twice(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with hosts.campaign(tmp_path, seed, files=8) as running:
        running.run(40, calm=4.0)
        print(running.summary())
        assert running.figures.losses == [], running.dump()
        assert running.figures.versions == 40


def test_the_count_sees_what_is_missing_and_what_is_too_much(tmp_path):
    truth = Truth(tmp_path)
    path = tmp_path / "a.h5"
    for value in range(3):
        with h5py.File(path, "w") as file:
            file["x"] = value
        written = truth.note(path)
        if value != 1:
            truth.settled.append(written)
        if value != 2:
            capture(path, truth.store_of(path))
    count, problems = hosts.not_once(truth)
    assert count == 2
    assert sorted(each.split(": ")[1] for each in problems) == [
        "1 versions too many",
        "no version of it",
    ]
