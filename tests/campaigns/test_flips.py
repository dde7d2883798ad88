"""The campaign of wrong bytes in short."""

from __future__ import annotations

import random

import pytest

from tests.campaigns import flips


@pytest.mark.timeout(240)
def test_wrong_bytes_are_found_or_do_no_harm(tmp_path):
    seed = random.randrange(1 << 32)
    figures = flips.run(60, seed, tmp_path)
    print(figures.summary())
    assert figures.failures == []
    assert figures.total >= 60
    assert figures.done["chunks"]["found"] == figures.done["chunks"].total()


def test_what_reads_otherwise_is_harm(tmp_path):
    flips.make(tmp_path)
    store = flips.damaged(tmp_path, tmp_path, "chunks", flips.kinds(tmp_path)["chunks"][0][0], 0)
    assert flips.harm(tmp_path, store) == []
    (tmp_path / "v1.whole").write_bytes(b"other")
    assert flips.harm(tmp_path, store) == ["v1: other bytes"]
