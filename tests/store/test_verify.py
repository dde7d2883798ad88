"""A store with a wrong byte anywhere is found out, or the byte is one that nobody needs."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.compare import differences
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.capture.restore import restore
from vh5d.errors import StoreDamagedError, VH5DError
from vh5d.store import layout
from vh5d.store.pools import ADDRESS, STORED
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

SEED = random.SystemRandom().randrange(2**32)


def write_first(path: Path) -> None:
    with h5py.File(path, "w") as file:
        rng = np.random.default_rng(1)
        file["frames"] = rng.poisson(3, (40, 32, 32)).astype("u2")
        file.create_dataset("zipped", data=np.arange(5000), chunks=(200,), compression="gzip")
        file.create_dataset("plain", data=rng.random(3000), chunks=(300,))
        file["notes"] = np.array(["one", "two", "three"], h5py.string_dtype())
        file["few"] = np.arange(10)
        file["group/scalar"] = 3.5
        file["group"].attrs["who"] = "somebody"
        file.attrs["title"] = "a measurement"
        file.attrs["numbers"] = np.arange(5.0)
        file["soft"] = h5py.SoftLink("/few")


def write_second(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["frames"][5] = 7
        file["zipped"][1000:1100] = -1
        file["few"][3] = 30
        file["notes"][1] = "zwei"


def write_third(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["plain"][10] = 0
        file["new"] = np.arange(2000.0)
        file["group"].attrs["who"] = "somebody else"
        del file["zipped"]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A store, and a copy of its source for each version."""
    directory = tmp_path_factory.mktemp("history")
    source, store = directory / "source.h5", directory / "store.h5"
    copies = {}
    for write in (write_first, write_second, write_third):
        write(source)
        version = capture(source, store).version
        assert version is not None
        copies[version] = Path(shutil.copy(source, directory / f"{version}.h5"))
    return store, copies


@pytest.fixture
def store(history, tmp_path) -> Path:
    return Path(shutil.copy(history[0], tmp_path / "store.h5"))


def flip(store: Path, offset: int, bits: int = 0xFF) -> None:
    with store.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def test_a_store_that_is_right_is_found_right(store):
    result = verify(store)
    assert result.ok
    assert result.problems == ()
    assert result.versions == 3
    with open_store(store) as reader:
        assert result.chunks == sum(len(reader.pools[name]) for name in reader.pools)


def test_progress_ends_at_the_total(store):
    seen: list[tuple[int, int]] = []
    verify(store, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0


def test_a_wrong_byte_in_a_chunk_names_the_versions_and_the_dataset(store):
    with open_store(store) as reader:
        index = reader.tree(reader.resolve("v1"))["zipped"]
        address = index.id.get_chunk_info(0).byte_offset
    flip(store, address + 5)
    result = verify(store)
    assert not result.ok
    (affected,) = [each for each in result.problems if each.path == "/zipped"]
    assert affected.kind == "chunk"
    assert affected.versions == ("v1", "v2")
    assert {each.kind for each in result.problems} == {"chunk", "image"}
    assert not any("v3" in each.versions for each in result.problems)
    assert result.unaffected == ("v3",)


def test_a_chunk_that_one_version_alone_has_leaves_the_others_alone(store):
    with open_store(store) as reader:
        dataset = reader.tree(reader.resolve("v2"))["frames"]
        v1 = reader.tree(reader.resolve("v1"))["frames"]
        new = dataset.id.get_chunk_info(0).byte_offset
        assert new != v1.id.get_chunk_info(0).byte_offset
    flip(store, new)
    result = verify(store)
    assert {name for each in result.problems for name in each.versions} == {"v2", "v3"}


def test_a_wrong_hash_is_found(store):
    with h5py.File(store, "r+") as file:
        file[f"{layout.POOLS}/raw/hash_table"][0, 0] ^= 1
    assert "chunk" in {each.kind for each in verify(store).problems}


def test_a_damaged_index_node_is_found_once_for_all_versions_that_share_it(store):
    with open_store(store) as reader:
        from vh5d.store.datasets import index_of

        root = index_of(reader.read, reader.tree(reader.resolve("v1"))["plain"]).root
    flip(store, root + 20)
    found = [each for each in verify(store).problems if each.kind == "index"]
    assert [each.versions for each in found if each.path == "/plain"] == [("v1", "v2")]


def test_a_wrong_value_in_a_small_dataset_is_found(store):
    with open_store(store) as reader:
        offset = reader.tree(reader.resolve("v1"))["few"].id.get_offset()
    flip(store, offset)
    (problem,) = verify(store).problems
    assert (problem.kind, problem.path, problem.versions) == ("object", "/few", ("v1",))


def test_a_truncated_store_is_a_problem_and_no_traceback(store):
    with store.open("r+b") as file:
        file.truncate(store.stat().st_size // 2)
    assert [each.kind for each in verify(store).problems] == ["store"]


def test_a_store_whose_format_cannot_be_read_is_damaged(store):
    data = store.read_bytes()
    heap = data.index(b"GCOL")
    store.write_bytes(data[: heap + 16] + b"\xff" * 64 + data[heap + 80 :])
    with pytest.raises(StoreDamagedError):
        open_store(store)
    assert [each.kind for each in verify(store).problems] == ["store"]


@pytest.mark.parametrize("compression", ["auto", "keep", "none", "zstd"])
def test_every_way_to_store_is_verified(tmp_path, compression):
    source = tmp_path / "a.h5"
    write_first(source)
    capture(source, tmp_path / "s.h5", options=CaptureOptions(compression=compression))
    assert verify(tmp_path / "s.h5").ok


def test_what_was_kept_by_its_bytes_is_verified(tmp_path):
    source = tmp_path / "a.h5"
    source.write_bytes(random.Random(3).randbytes(100_000))
    capture(source, tmp_path / "s.h5")
    assert verify(tmp_path / "s.h5").ok
    with open_store(tmp_path / "s.h5") as reader:
        pool = reader.pools["deflate"]
        address = int(pool.table[3, ADDRESS])
        assert pool.table[3, STORED] > 100
    flip(tmp_path / "s.h5", address + 50)
    assert {each.kind for each in verify(tmp_path / "s.h5").problems} == {"chunk", "image"}


def is_harmless(store: Path, copies: dict[str, Path], directory: Path) -> list[str]:
    """Return what is not as it was, with the damage there is."""
    wrong = []
    for version, copy in copies.items():
        target = directory / f"{version}.out"
        try:
            restore(store, version, target, overwrite=True)
        except VH5DError as error:
            wrong.append(f"{version}: {error}")
            continue
        if target.read_bytes() != copy.read_bytes():
            wrong.append(f"{version}: other bytes")
        with h5py.File(store, "r") as file, h5py.File(copy, "r") as source:
            tree = file[f"{layout.VERSIONS}/{version}"]
            wrong += differences(
                source["/"], tree, but_root_attributes=layout.RESERVED_ATTRIBUTES, storage=False
            )
    return wrong


def regions(store: Path) -> dict[str, list[tuple[int, int]]]:
    """Where in a store which kind of bytes lies, as far as that is easily told."""
    found: dict[str, list[tuple[int, int]]] = {"anywhere": [(0, store.stat().st_size)]}
    with h5py.File(store, "r") as file:
        found["spaces"] = [
            (each.id.get_offset(), each.id.get_storage_size())
            for each in file[layout.SPACES].values()
        ]
        found["tables"] = []
        for pool in file[layout.POOLS].values():
            for table in pool.values():
                infos = [table.id.get_chunk_info(i) for i in range(table.id.get_num_chunks())]
                rows = table.shape[0] * table.dtype.itemsize * table.shape[1]
                found["tables"] += [(i.byte_offset, min(i.size, rows)) for i in infos]
        found["images"] = []

        def visit(_name: str, each: Any) -> None:
            if isinstance(each, h5py.Dataset) and each.id.get_offset() is not None:
                found["images"].append((each.id.get_offset(), each.id.get_storage_size()))

        file[layout.IMAGES].visititems(visit)
        found["values"] = []
        place = found["images"]
        found["images"] = found["values"]
        file[layout.VERSIONS].visititems(visit)
        found["images"], found["values"] = place, found["images"]
    return found


@pytest.mark.parametrize("kind", ["anywhere", "spaces", "tables", "images", "values"])
def test_a_wrong_byte_is_found_or_does_no_harm(history, store, tmp_path, kind):
    original, copies = history
    print(f"seed {SEED}")
    rng = random.Random(f"{SEED} {kind}")
    places = [span for span in regions(original)[kind] if span[1]]
    assert places
    found = 0
    for _ in range(40):
        start, length = rng.choices(places, weights=[length for _, length in places])[0]
        offset, bits = start + rng.randrange(length), rng.randrange(1, 256)
        shutil.copy(original, store)
        flip(store, offset, bits)
        try:
            problems = verify(store).problems
        except VH5DError as error:
            problems = (error,)
        if problems:
            found += 1
        else:
            assert is_harmless(store, copies, tmp_path) == [], (SEED, kind, offset, bits)
    assert found > 0


def test_a_sparse_dataset_is_verified_where_it_is_written(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("s", (10**7,), chunks=(100,), dtype=h5py.string_dtype())
        file["s"][10**6] = "written"
    capture(tmp_path / "a.h5", tmp_path / "s.h5")
    assert verify(tmp_path / "s.h5").ok
    data = (tmp_path / "s.h5").read_bytes()
    assert data.count(b"written") == 1
    (tmp_path / "s.h5").write_bytes(data.replace(b"written", b"Written"))
    (problem,) = verify(tmp_path / "s.h5").problems
    assert (problem.kind, problem.path) == ("object", "/s")
