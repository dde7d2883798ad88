"""A damaged store is repaired as far as it can be proved, and no further."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import vh5d
from vh5d.cli import main
from vh5d.errors import StoreDamagedError
from vh5d.hdf5.index_nodes import Pointers, node_children, read_header, read_nodes
from vh5d.store import layout
from vh5d.store.datasets import index_of
from vh5d.store.pools import ADDRESS, STORED
from vh5d.store.reader import open_store
from vh5d.store.verify import verify


@pytest.fixture
def scene(tmp_path) -> tuple[Path, Path]:
    source, store = tmp_path / "a.h5", tmp_path / "s.h5"
    rng = np.random.default_rng(3)
    with h5py.File(source, "w") as file:
        file.create_dataset("plain", data=rng.integers(0, 50, 6000), chunks=(500,))
        file.create_dataset("zipped", data=np.arange(5000), chunks=(200,), compression="gzip")
        file["few"] = np.arange(10)
    vh5d.capture(source, store)
    with h5py.File(source, "r+") as file:
        file["plain"][700] = -1
    vh5d.capture(source, store)
    return source, store


def damage(store: Path, address: int, nbytes: int = 1) -> None:
    with store.open("r+b") as file:
        file.seek(address)
        old = file.read(nbytes)
        file.seek(address)
        file.write(bytes(byte ^ 0xA5 for byte in old))


def chunk_at(store: Path, version: str, path: str, number: int) -> tuple[int, int]:
    with open_store(store) as reader:
        info = reader.tree(reader.resolve(version))[path].id.get_chunk_info(number)
    return info.byte_offset, info.size


def repaired(store: Path, **options) -> vh5d.RepairResult:
    whole = store.read_bytes()
    foreseen = vh5d.repair(store, dry_run=True, **options)
    assert store.read_bytes() == whole
    result = vh5d.repair(store, **options)
    assert (result.repaired, result.left) == (foreseen.repaired, foreseen.left)
    assert verify(store).problems == result.left
    return result


def test_a_sound_store_is_left_alone(scene):
    _, store = scene
    whole = store.read_bytes()
    result = vh5d.repair(store)
    assert result.ok
    assert result.repaired == ()
    assert store.read_bytes() == whole


@pytest.mark.parametrize(("path", "nbytes"), [("plain", 1), ("plain", 60), ("zipped", 30)])
def test_a_chunk_comes_back_from_the_source(scene, path, nbytes):
    _, store = scene
    whole = store.read_bytes()
    address, size = chunk_at(store, "v2", path, 3)
    damage(store, address + 5, min(nbytes, size - 5))
    assert repaired(store).ok
    assert store.read_bytes() == whole


def test_pages_come_back_from_the_source(scene):
    _, store = scene
    with open_store(store) as reader:
        with h5py.File(store) as file:
            pages = file[f"{layout.IMAGES}/v2/pages"][()]
            pools = [str(name) for name in file[f"{layout.IMAGES}/v2"].attrs["pools"]]
        row = reader.pools[pools[int(pages[0, 2])]].table[int(pages[0, 3])]
    whole = store.read_bytes()
    damage(store, int(row[ADDRESS]) + 2, int(row[STORED]) - 4)
    assert repaired(store).ok
    assert store.read_bytes() == whole


def test_a_busy_store_is_not_repaired(scene):
    _, store = scene
    with vh5d.open(store, "r+"), pytest.raises(vh5d.StoreBusyError):
        vh5d.repair(store, timeout=0.1)


def test_what_the_source_has_no_more_is_listed_and_not_touched(scene):
    source, store = scene
    address, _ = chunk_at(store, "v1", "plain", 1)  # 500:1000, changed since
    damage(store, address + 5, 20)
    damaged = store.read_bytes()
    result = repaired(store)
    assert not result.ok
    assert result.repaired == ()
    assert store.read_bytes() == damaged
    (lost,) = result.lost
    assert (lost.versions, lost.path, lost.ranges) == (("v1",), "/plain", (((500, 1000),),))
    source.unlink()
    assert vh5d.repair(store).left == result.left


def test_one_chunk_comes_back_and_another_does_not(scene):
    _, store = scene
    for version, number in (("v1", 1), ("v2", 4)):
        damage(store, chunk_at(store, version, "plain", number)[0] + 5, 20)
    result = repaired(store)
    assert len(result.repaired) == 1
    assert {each.versions for each in result.left if each.versions} == {("v1",)}
    vh5d.restore(store, "v2", store.with_name("out.h5"))
    with pytest.raises(StoreDamagedError):
        vh5d.restore(store, "v1", store.with_name("out1.h5"))


@pytest.mark.parametrize("table", ["hash_table", "chunk_table"])
def test_rows_come_back_from_the_chunks(scene, table):
    source, store = scene
    source.unlink()
    for pool, row in (("raw", 2), ("shuffle8-deflate", 3)):
        copy = Path(shutil.copy(store, store.with_name("copy.h5")))
        with h5py.File(copy, "r+") as file:
            names = list(file[layout.POOLS])
            chosen = file[layout.POOLS][pool if pool in names else names[0]][table]
            before = chosen[row].copy()
            chosen[row, 0] ^= 0x11
        assert not verify(copy).ok
        result = repaired(copy)
        assert result.ok
        with h5py.File(copy, "r") as file:
            chosen = file[layout.POOLS][pool if pool in names else names[0]][table]
            assert chosen[row].tolist() == before.tolist()


@pytest.mark.parametrize("what", ["header", "tree", "node"])
def test_an_index_comes_back_by_its_checksum(scene, what):
    source, store = scene
    source.unlink()
    whole = store.read_bytes()
    with open_store(store) as reader:
        dataset = reader.tree(reader.resolve("v1"))["zipped"]
        root = index_of(reader.read, dataset).root
        node = int.from_bytes(reader.read(root + 16, 8), "little")
        header = h5py.h5o.get_info(dataset.id).addr
    place = {"header": header + 40, "tree": root + 30, "node": node + 40}[what]
    damage(store, place)
    assert not verify(store).ok
    assert repaired(store).ok
    assert store.read_bytes() == whole


def index_of_dataset(store: Path, version: str, path: str) -> tuple[int, list[int]]:
    """Return where an index begins, and where its nodes of the two upper levels are."""
    with open_store(store) as reader:
        found = index_of(reader.read, reader.tree(reader.resolve(version))[path])
        root = read_header(reader.read, found.root, found.format)
        nodes = [root.address]
        if root.height:
            place, count, total = np.uint64(root.address), root.count, root.total
            top = Pointers(np.array([place]), np.array([count]), np.array([total]))
            rows = read_nodes(reader.read, top, root.height, found.format)
            below = node_children(rows, top.counts, root.height, found.format)
            nodes += below.addresses.tolist()
    return found.root, nodes


@pytest.fixture
def history(tmp_path) -> tuple[Path, Path, dict[str, bytes]]:
    """Three versions of datasets with indexes of several nodes, chunks missing in one."""
    source, store = tmp_path / "a.h5", tmp_path / "s.h5"
    states = {}
    for step in range(3):
        with h5py.File(source, "a") as file:
            if not step:
                file.create_dataset("many", data=np.arange(6000), chunks=(20,))
                file["line"] = np.random.default_rng(1).random(150_000)
                file.create_dataset("holes", (900, 9), "i2", chunks=(5, 3), compression="gzip")
                file["holes"][::20, 4:7] = np.arange(135).reshape(45, 3)
            file["many"][100 * step : 100 * step + 30] = -step
            file["holes"][90 * step : 90 * step + 40, step] = step + 1
        name = vh5d.capture(source, store).version
        states[name] = source.read_bytes()
    return source, store, states


def comes_back(store: Path, states: dict[str, bytes]) -> None:
    out = store.with_name("out.h5")
    for name, whole in states.items():
        vh5d.restore(store, name, out, overwrite=True)
        assert out.read_bytes() == whole


@pytest.mark.parametrize(
    ("version", "path", "where"),
    [
        ("v3", "many", "header"),
        ("v2", "many", "root"),
        ("v1", "many", "leaf"),
        ("v3", "many", "all"),
        ("v2", "holes", "all"),
    ],
)
def test_an_index_comes_back_by_the_digest_of_its_file(history, version, path, where):
    source, store, states = history
    if path == "many":
        source.unlink()  # the chunks of the other have twins: only the source tells which is which
    header, nodes = index_of_dataset(store, version, path)
    assert len(nodes) > 3
    places = {"header": [header], "root": nodes[:1], "leaf": nodes[2:3], "all": [header, *nodes]}
    for address in places[where]:
        damage(store, address + 8, 24)
    assert not verify(store).ok
    assert repaired(store).ok
    comes_back(store, states)


def test_an_index_of_the_only_version_comes_back(tmp_path):
    source, store = tmp_path / "a.h5", tmp_path / "s.h5"
    with h5py.File(source, "w") as file:
        file.create_dataset("x", data=np.arange(6000), chunks=(20,))
        file["line"] = np.arange(400_000)
    whole = source.read_bytes()
    vh5d.capture(source, store)
    source.unlink()
    for path in ("x", "line"):
        header, nodes = index_of_dataset(store, "v1", path)
        for address in (header, *nodes):
            damage(store, address + 8, 24)
    assert repaired(store).ok
    comes_back(store, {"v1": whole})


def test_an_index_comes_back_from_the_source_when_chunks_of_other_versions_are_in_doubt(tmp_path):
    source, store = tmp_path / "a.h5", tmp_path / "s.h5"
    for step in range(4):
        with h5py.File(source, "a") as file:
            data = np.arange(6000) // 100 * (step + 1)  # equal chunks, others in each version
            if "x" in file:
                file["x"][:] = data
            else:
                file.create_dataset("x", data=data, chunks=(20,))
        vh5d.capture(source, store)
    header, nodes = index_of_dataset(store, "v4", "x")
    for address in (header, *nodes):
        damage(store, address + 8, 24)
    assert repaired(store).ok
    comes_back(store, {"v4": source.read_bytes()})


def test_an_index_that_cannot_be_proved_is_listed_and_not_touched(history):
    source, store, states = history
    source.unlink()
    with h5py.File(store, "r+") as file:
        file[f"{layout.IMAGES}/v2"].attrs["digest"] = "0" * 64
    header, _ = index_of_dataset(store, "v2", "many")
    damage(store, header + 8, 24)
    damaged = store.read_bytes()
    result = repaired(store)
    assert not result.ok
    assert store.read_bytes() == damaged
    comes_back(store, {name: states[name] for name in ("v1", "v3")})


def test_the_command_shows_first_and_then_repairs(scene):
    _, store = scene
    damage(store, chunk_at(store, "v2", "plain", 3)[0] + 5, 20)
    run = CliRunner().invoke(main, ["repair", str(store), "--dry-run", "--json"])
    assert run.exit_code == 0, run.output
    shown = json.loads(run.output)
    assert shown["ok"]
    assert len(shown["repaired"]) == 1
    assert not verify(store).ok
    run = CliRunner().invoke(main, ["repair", str(store), "--yes"])
    assert run.exit_code == 0, run.output
    assert "1 part repaired" in run.output
    assert verify(store).ok
