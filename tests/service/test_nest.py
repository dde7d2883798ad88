"""Whoever may read a watched directory may read the versions in it."""

from __future__ import annotations

import os
import stat

import pytest

from tests.support.service import Up
from vh5d.service.watching.canary import Canary, Habits


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def masked():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize(("mode", "expected"), [(0o755, 0o750), (0o750, 0o750), (0o700, 0o700)])
def test_the_canary_makes_a_directory_as_open_as_the_watched_one(mode, expected, data, masked):
    data.chmod(mode)
    canary = Canary(data, Habits())
    assert canary.make_nest()
    assert stat.S_IMODE((data / ".vh5d").stat().st_mode) == expected
    canary._write()
    assert stat.S_IMODE(canary.path.stat().st_mode) == 0o600


def test_so_does_the_service(data, tmp_path, masked):
    data.chmod(0o750)
    up = Up(data, tmp_path)
    try:
        up.start()
        assert stat.S_IMODE((data / ".vh5d").stat().st_mode) == 0o750
        assert up.stop() == 0
    finally:
        up.kill()
