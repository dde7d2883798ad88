"""What was staged from Python is checked as what was captured is, down to plain values."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import vh5d
from vh5d.store.compact import compact
from vh5d.store.datasets import index_of
from vh5d.store.prune import prune
from vh5d.store.reader import open_store
from vh5d.store.verify import verify


@pytest.fixture
def store(tmp_path) -> Path:
    with vh5d.open(tmp_path / "p.h5", "w") as file:
        with file.stage_version("first") as group:
            group.create_dataset("d", data=np.arange(5000), chunks=(500,))
            group.create_dataset("deep/other", data=np.arange(3000.0), chunks=(500,))
            group.create_dataset("words", data=["alpha-one", "beta"], dtype=h5py.string_dtype())
            group["words"].attrs["who"] = "somebody-there"
            group.attrs["title"] = "the-title-of-it"
        with file.stage_version("second") as group:
            group["d"][700] = 7
        with file.stage_version("third") as group:
            group["words"][1] = "gamma-two"
    return tmp_path / "p.h5"


def replace(store: Path, old: bytes, new: bytes) -> None:
    data = store.read_bytes()
    assert data.count(old) >= 1
    store.write_bytes(data.replace(old, new))


def affected(store: Path, kind: str) -> dict[str | None, tuple[str, ...]]:
    return {each.path: each.versions for each in verify(store).problems if each.kind == kind}


def test_what_is_right_is_found_right(store):
    assert verify(store).problems == ()


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (b"alpha-one", b"alpha-onE", "/words"),
        (b"somebody-there", b"somebody-theRe", "/words"),
        (b"the-title-of-it", b"the-titlE-of-it", "/"),
    ],
)
def test_a_wrong_byte_that_has_no_checksum_is_found(store, old, new, path):
    replace(store, old, new)
    assert path in affected(store, "object")


def test_a_damaged_index_names_the_versions_that_share_it(store):
    with open_store(store) as reader:
        root = index_of(reader.read, reader.tree(reader.resolve("first"))["deep/other"]).root
    data = bytearray(store.read_bytes())
    data[root + 20] ^= 0xFF
    store.write_bytes(data)
    assert affected(store, "index") == {"/deep/other": ("first", "second", "third")}


def test_a_damaged_chunk_names_the_versions_that_have_it(store):
    with open_store(store) as reader:
        dataset = reader.tree(reader.resolve("second"))["d"]
        address = dataset.id.get_chunk_info(1).byte_offset
    data = bytearray(store.read_bytes())
    data[address + 3] ^= 0xFF
    store.write_bytes(data)
    assert affected(store, "chunk") == {None: (), "/d": ("second", "third")}


def test_seals_are_handed_on_when_their_version_goes(store):
    prune(store, ["first"])
    assert verify(store).problems == ()
    prune(store, ["second"])
    compact(store)
    assert verify(store).problems == ()
    # In /words of the third version, that was made with it, and in what only the first had made.
    replace(store, b"somebody-there", b"somebody-theRe")
    assert "/words" in affected(store, "object")


def test_damaged_seals_are_told(store):
    with h5py.File(store, "r+") as file:
        file["_version_data/seals/second"][40] ^= 1
    assert any("seals" in each.message for each in verify(store).problems)


def test_what_is_stored_in_another_way_is_sealed_anew(store):
    with vh5d.open(store, "r+") as file, file.stage_version("fourth") as group:
        group.create_dataset("few", data=np.arange(4, dtype="f4"))
    for path in ("few", "d"):
        vh5d.modify_metadata(store, path, dtype="f8")
        assert verify(store).problems == ()


def test_a_store_behind_a_userblock_is_verified(tmp_path):
    path = tmp_path / "u.h5"
    with h5py.File(path, "w", userblock_size=1024, libver=("v110", "latest")) as file:
        versioned = vh5d.VersionedHDF5File(file)
        with versioned.stage_version("first") as group:
            group.create_dataset("d", data=np.arange(5000), chunks=(500,))
    result = verify(path)
    assert result.problems == ()
    assert result.chunks == 10
