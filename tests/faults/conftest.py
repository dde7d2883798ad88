from __future__ import annotations

import pytest

from tests.service.conftest import broker, redis_client
from tests.support.service import Up

__all__ = ["broker", "redis_client"]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def make_up(data, tmp_path):
    made = []

    def make(watch=data, **policy) -> Up:
        made.append(Up(watch, tmp_path, **policy))
        return made[-1]

    yield make
    for up in made:
        up.kill()


@pytest.fixture
def up(make_up):
    return make_up()
