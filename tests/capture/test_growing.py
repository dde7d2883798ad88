"""Files that are written with SWMR while they are captured."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.compare import differences
from tests.support.other_process import other_process
from tests.support.swmr_writer import SwmrWriter, frames, torn
from vh5d.capture import carry
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.capture.restore import restore
from vh5d.errors import SourceBusyError, SourceChangedError, UsageError
from vh5d.store.layout import RESERVED_ATTRIBUTES, VERSIONS
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

SWMR = CaptureOptions(busy="swmr")


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "scan.h5", tmp_path / "store.h5"


def seen(store: Path, version: str) -> tuple[int, list[str]]:
    with h5py.File(store, "r") as file:
        tree = file[VERSIONS][version]
        return frames(tree), torn(tree)


def test_a_growing_file_is_captured_as_a_reader_sees_it(place):
    source, store = place
    with SwmrWriter(source) as writer:
        for version, more in (("v1", 5), ("v2", 1), ("v3", 7)):
            count = writer.add(more)
            result = capture(source, store, options=SWMR, cause="swmr")
            assert (result.version, result.kept_as) == (version, "content")
            assert seen(store, version) == (count, [])
        assert capture(source, store, options=SWMR).version is None
        writer.close()
    assert verify(store).ok
    with open_store(store) as reader:
        assert [each.cause for each in reader.versions] == ["swmr"] * 3


def test_its_end_is_a_version_like_any_other(place, tmp_path):
    source, store = place
    with SwmrWriter(source) as writer:
        writer.add(3)
        capture(source, store, options=SWMR)
        writer.close()
    result = capture(source, store, options=SWMR)
    assert (result.version, result.kept_as) == ("v2", "tree")
    assert restore(store, "v2", tmp_path / "back.h5").exact
    assert (tmp_path / "back.h5").read_bytes() == source.read_bytes()
    assert capture(source, store).version is None


def test_what_was_seen_of_it_comes_back_with_the_same_content(place, tmp_path):
    source, store = place
    with SwmrWriter(source) as writer:
        writer.add(6)
        capture(source, store, options=SWMR)
        writer.add(2)
    result = restore(store, "v1", tmp_path / "back.h5")
    assert not result.exact
    assert result.warnings == ()
    with h5py.File(tmp_path / "back.h5", "r") as back, h5py.File(store, "r") as file:
        tree = file[VERSIONS]["v1"]
        assert frames(back) == 6
        assert differences(back["/"], tree, but_root_attributes=RESERVED_ATTRIBUTES) == []
        assert back.attrs["title"] == "a scan"
    with h5py.File(tmp_path / "back.h5", "r+") as back:  # nothing marks it as being written
        back["frames"].resize(7, axis=0)


def test_without_leave_it_is_waited_for(place):
    source, store = place
    with SwmrWriter(source) as writer:
        writer.add(1)
        with pytest.raises(SourceBusyError):
            capture(source, store)
    assert not store.exists()


def test_a_file_that_is_written_otherwise_is_waited_for(place):
    source, store = place
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'w'); f['x'] = [1]; f.flush()"
    with other_process(code, source), pytest.raises(SourceBusyError):
        capture(source, store, options=SWMR)


def test_a_file_that_is_closed_meanwhile_is_left_for_later(place):
    source, store = place
    with SwmrWriter(source) as writer:
        writer.add(2)

        closed: list[int] = []

        def close(done: int, total: int) -> None:
            if done == total and not closed:
                closed.append(writer.close())

        with pytest.raises(SourceChangedError, match="was closed"):
            capture(source, store, options=SWMR, progress=close)
    assert not store.exists()


def test_captures_never_lock_it_nor_disturb_its_writer(place):
    source, store = place
    with SwmrWriter(source, pause=0.001) as writer:
        writer.tell("run")
        for _ in range(10):
            capture(source, store, options=SWMR)
        count = writer.close()
    assert count > 10
    with open_store(store) as reader:
        names = [each.name for each in reader.versions]
    lengths = [seen(store, name) for name in names]
    assert [problems for _, problems in lengths if problems] == []
    assert sorted(lengths) == lengths
    assert len(names) > 1


def test_the_environment_cannot_make_it_lock(place, monkeypatch):
    source, store = place
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    with SwmrWriter(source) as writer:
        writer.add(1)
        with pytest.raises(UsageError, match="HDF5_USE_FILE_LOCKING"):
            capture(source, store, options=SWMR)


def test_cost_follows_what_was_added(place, monkeypatch):
    source, store = place
    monkeypatch.setattr(carry, "AUDIT_NBYTES", 1 << 16)
    with SwmrWriter(source) as writer:
        writer.add(200)
        first = capture(source, store, options=SWMR)
        writer.add(4)
        second = capture(source, store, options=SWMR)
        assert seen(store, "v2") == (204, [])
    assert first.read_bytes > 200 * 64 * 64 * 4
    # Four frames, chunks that are not full yet, the part that is read again in turn, samples.
    frame = 64 * 64 * 4
    audit = 2 * (1 << 16) + carry.SAMPLES * frame
    assert second.read_bytes < 4 * frame + 4 * 32 * 32 * 4 + 40_000 + audit
    assert audit < first.read_bytes / 2
    assert second.bytes_added < first.bytes_added / 4
    assert verify(store).ok


def test_a_chunk_that_is_rewritten_in_its_place_is_found_in_time(place, monkeypatch):
    source, store = place
    with SwmrWriter(source) as writer:
        writer.add(50)
        capture(source, store, options=SWMR)
        writer.tell("rewrite 7")
        capture(source, store, options=SWMR)
        with h5py.File(store, "r") as file:
            assert np.unique(file[VERSIONS]["v2/frames"][7]).tolist() == [10**6]
        monkeypatch.setattr(carry, "AUDIT_NBYTES", 1 << 18)
        writer.tell("rewrite 9")
        for _ in range(5):  # at the latest when every part had its turn
            writer.add(1)
            last = capture(source, store, options=SWMR)
        with h5py.File(store, "r") as file:
            assert np.unique(file[VERSIONS][f"{last.version}/frames"][9]).tolist() == [10**6]
        # From then on all of it is read.
        writer.tell("rewrite 11")
        last = capture(source, store, options=SWMR)
        with h5py.File(store, "r") as file:
            assert np.unique(file[VERSIONS][f"{last.version}/frames"][11]).tolist() == [10**6]


def test_another_file_of_the_name_is_read_whole(place, monkeypatch):
    source, store = place
    monkeypatch.setattr(carry, "AUDIT_NBYTES", 1 << 16)
    with SwmrWriter(source) as writer:
        writer.add(50)
        capture(source, store, options=SWMR)
    other = source.with_name("other.h5")
    with SwmrWriter(other) as writer:
        writer.add(40)
        writer.tell("rewrite 0")
        other.rename(source)
        capture(source, store, options=SWMR)
    with h5py.File(store, "r") as file:
        assert np.unique(file[VERSIONS]["v2/frames"][0]).tolist() == [10**6]
    assert seen(store, "v2") == (40, [])


def test_bytes_of_a_growing_file_are_never_kept(place):
    source, store = place
    with SwmrWriter(source) as writer:
        writer.add(1)
        with pytest.raises(SourceBusyError):
            capture(source, store, options=CaptureOptions(busy="swmr", parse=False))
    assert not store.exists()


def test_a_damaged_file_is_given_up_soon(place):
    source, store = place
    with SwmrWriter(source) as writer:
        writer.add(3)
        writer.kill()
    content = bytearray(source.read_bytes())
    for at in range(len(content)):
        if content[at : at + 4] == b"OHDR":
            content[at + 20] ^= 0xFF  # its checksum never comes right
    source.write_bytes(content)
    began = time.monotonic()
    with pytest.raises(SourceChangedError, match="cannot be read while it grows"):
        capture(source, store, options=SWMR)
    assert time.monotonic() - began < 30  # HDF5 by itself would look again for years
    assert not store.exists()


def test_a_file_that_is_written_anew_in_its_place_is_another(place, monkeypatch):
    source, store = place
    monkeypatch.setattr(carry, "AUDIT_NBYTES", 1 << 16)
    with SwmrWriter(source) as writer:
        writer.add(300)
        writer.tell("rewrite 150")
        writer.tell("rewrite 200")
        capture(source, store, options=SWMR)
        writer.kill()
    inode = source.stat().st_ino
    with SwmrWriter(source) as writer:
        for each in range(300):
            writer.add(1)
            writer.tell(f"rewrite {each}")
        assert source.stat().st_ino == inode
        capture(source, store, options=SWMR)
        with h5py.File(store, "r") as file:
            assert np.unique(file[VERSIONS]["v2/frames"][()]).tolist() == [10**6]


def test_a_file_whose_swmr_writer_died_is_read_the_same_way(place):
    source, store = place
    with SwmrWriter(source) as writer:
        writer.add(4)
        writer.kill()
    assert capture(source, store, options=SWMR).kept_as == "content"
    assert seen(store, "v1") == (4, [])
    # And kept by its bytes when nobody asks for more.
    assert capture(source, store).kept_as == "bytes"
