"""Versions are chained: history that was rewritten shows, pruning does not."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import vh5d
from vh5d.capture.capture import capture
from vh5d.store import chain, layout
from vh5d.store.compact import compact
from vh5d.store.prune import prune
from vh5d.store.verify import verify


@pytest.fixture
def captured(tmp_path) -> Path:
    source, store = tmp_path / "a.h5", tmp_path / "s.h5"
    for i in range(4):
        with h5py.File(source, "a") as file:
            file[f"d{i}"] = np.arange(2000.0) + i
        capture(source, store)
    return store


@pytest.fixture
def staged(tmp_path) -> Path:
    with vh5d.open(tmp_path / "p.h5", "w") as file:
        for i in range(4):
            with file.stage_version(f"r{i}") as group:
                group.create_dataset(f"d{i}", data=np.arange(1000) * i)
    return tmp_path / "p.h5"


@pytest.fixture(params=["captured", "staged"])
def store(request) -> Path:
    return request.getfixturevalue(request.param)


def broken(store: Path) -> dict[str, tuple[str, ...]]:
    return {each.message: each.versions for each in verify(store).problems if each.kind == "chain"}


def names(store: Path) -> list[str]:
    with vh5d.open_store(store) as reader:
        return [version.name for version in reader.versions]


def test_every_version_has_a_link_and_the_head_moves(store):
    with h5py.File(store, "r") as file:
        rows = file[f"{layout.ROOT}/{chain.NAME}"][()]
        assert rows[:, chain.SEQUENCE].tolist() == [1, 2, 3, 4]
        assert len(np.unique(rows[:, chain.LINK], axis=0)) == 4
    result = verify(store)
    assert result.ok
    assert result.chain is not None
    assert len(result.chain) == 64


@pytest.mark.parametrize("dropped", [[0], [1, 2], [3], [0, 2, 3]])
def test_pruning_and_compacting_keep_the_chain(store, dropped):
    before = verify(store).chain
    prune(store, [names(store)[i] for i in dropped])
    assert verify(store).problems == ()
    compact(store)
    result = verify(store)
    assert result.problems == ()
    assert result.chain == before


def test_deleting_from_python_keeps_the_chain(staged):
    with vh5d.open(staged, "r+") as file:
        del file["r1"]
        with file.stage_version("again") as group:
            group["d0"][3] = 33
    assert verify(staged).problems == ()


def change_time(file: h5py.File, name: str) -> None:
    file[layout.VERSIONS][name].attrs["timestamp"] = "2001-01-01 00:00:00.000000+0000"


def rename(file: h5py.File, name: str) -> None:
    file.move(f"{layout.VERSIONS}/{name}", f"{layout.VERSIONS}/other")


def drop(file: h5py.File, name: str) -> None:
    del file[layout.VERSIONS][name]


@pytest.mark.parametrize("rewrite", [change_time, rename, drop])
def test_rewritten_history_shows(store, rewrite):
    name = names(store)[1]
    with h5py.File(store, "r+") as file:
        rewrite(file, name)
    assert broken(store)


def test_a_file_that_was_swapped_shows(captured):
    with h5py.File(captured, "r+") as file:
        file[f"{layout.IMAGES}/v2"].attrs["host"] = "elsewhere"
    assert list(broken(captured).values()) == [("v2",)]


def test_links_cannot_be_left_out(store):
    with h5py.File(store, "r+") as file:
        table = file[f"{layout.ROOT}/{chain.NAME}"]
        table[1:3] = table[2:4]
        table.resize(3, axis=0)
    assert broken(store)


def test_stores_without_a_chain_are_valid_and_get_one(captured, tmp_path):
    with h5py.File(captured, "r+") as file:
        del file[f"{layout.ROOT}/{chain.NAME}"]
    result = verify(captured)
    assert result.ok
    assert result.chain is None
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["new"] = 1
    capture(tmp_path / "a.h5", captured)
    assert verify(captured).ok
    assert verify(captured).chain is not None
