"""Captured states come back: as trees by plain h5py, as files byte for byte."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.corpus import corpus_parameters
from tests.support.history import History, sha256, tree_differences
from tests.support.other_process import other_process
from vh5d.capture import watchful
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.capture.restore import restore
from vh5d.errors import (
    SourceBusyError,
    SourceChangedError,
    SourceMissingError,
    StoreDamagedError,
    TargetExistsError,
)
from vh5d.hdf5.writers import WriterState, writers
from vh5d.store.layout import VERSIONS
from vh5d.store.reader import open_store

NOISE = np.frombuffer(np.random.default_rng(0).bytes(1 << 20), "u1")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def fill(file: h5py.File) -> None:
    counts = np.random.default_rng(0).poisson(10, (50, 32, 32)).astype("u2")
    file.attrs["title"] = "a run"
    entry = file.create_group("entry", track_order=True)
    entry.create_dataset("counts", data=counts, chunks=(1, 32, 32), maxshape=(None, 32, 32))
    entry.create_dataset("packed", data=counts, chunks=(10, 32, 32), compression="gzip")
    entry["position"] = np.random.default_rng(1).normal(size=(400, 50))
    entry["small"] = [1, 2, 3]
    entry["text"] = ["ä", "b"]
    entry["soft"] = h5py.SoftLink("/entry/small")
    entry["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
    file["alias"] = entry["counts"]


def object_at(store: Path, version: str, path: str) -> h5py.h5o.ObjInfo:
    with h5py.File(store, "r") as file:
        return h5py.h5o.get_info(file[VERSIONS][version][path].id).addr


def test_every_state_comes_back(history: History) -> None:
    def renew(file: h5py.File) -> None:
        del file["entry/position"]
        file["entry/new"] = np.ones((300, 300), ">f4")

    def grow(file: h5py.File) -> None:
        file["entry/counts"].resize(80, axis=0)
        file["entry/counts"][70] = 9

    edits = [
        fill,
        lambda f: f["entry/counts"].write_direct(np.zeros((32, 32), "u2"), dest_sel=np.s_[3]),
        grow,
        lambda f: f["entry"].attrs.create("units", "mm"),
        renew,
        lambda f: f.move("entry/counts", "entry/frames"),
        lambda f: f["entry/frames"].resize(5, axis=0),
        lambda f: f.__delitem__("alias"),
    ]
    for number, edit in enumerate(edits, 1):
        assert history.edit(edit).version == f"v{number}"
    history.check()


def test_nothing_changed_makes_no_version_and_writes_nothing(history: History) -> None:
    history.edit(fill)
    before = sha256(history.store)
    result = history.capture()
    assert (result.changed, result.version, result.bytes_added) == (False, None, 0)
    assert sha256(history.store) == before


def test_what_did_not_change_is_the_same_object(history: History) -> None:
    history.edit(fill)
    history.edit(lambda f: f["entry/small"].write_direct(np.array([7, 8, 9])))
    for path in ("entry/counts", "entry/packed", "entry/position", "entry/text", "alias"):
        assert object_at(history.store, "v1", path) == object_at(history.store, "v2", path)
    for path in ("entry/small", "entry"):
        assert object_at(history.store, "v1", path) != object_at(history.store, "v2", path)


def test_a_changed_frame_costs_a_frame(history: History) -> None:
    history.edit(lambda f: f.create_dataset("x", data=NOISE, chunks=(4096,)))
    size = history.store.stat().st_size
    result = history.edit(lambda f: f["x"].__setitem__(slice(8192, 8200), 1))
    assert 4096 <= result.bytes_added < 4096 + 8192
    assert history.store.stat().st_size - size < 32_768


def test_a_chunk_that_moved_or_was_copied_is_not_stored_again(history: History) -> None:
    history.edit(lambda f: f.create_dataset("x", data=NOISE, chunks=(65536,)))
    result = history.edit(lambda f: f.create_dataset("y", data=NOISE, chunks=(65536,)))
    assert result.bytes_added < 16_384
    history.check()


@pytest.mark.parametrize("compression", ["auto", "keep", "none", "zstd"])
def test_every_compression_comes_back(tmp_path: Path, compression: str) -> None:
    history = History(tmp_path, CaptureOptions(compression=compression))  # type: ignore[arg-type]
    history.edit(fill)
    history.edit(lambda f: f["entry/counts"].__setitem__(4, 5))
    history.check()
    with h5py.File(history.store, "r") as file:
        filters = file[VERSIONS]["v1/entry/counts"].id.get_create_plist().get_nfilters()
    assert filters == (2 if compression in {"auto", "zstd"} else 0)


def test_what_the_source_compressed_is_kept_byte_for_byte(history: History) -> None:
    history.edit(fill)
    with h5py.File(history.source, "r") as a, h5py.File(history.store, "r") as b:
        ours = b[VERSIONS]["v1/entry/packed"].id.read_direct_chunk((10, 0, 0))
        assert ours == a["entry/packed"].id.read_direct_chunk((10, 0, 0))


def test_root_attributes_that_a_version_needs_itself_come_back(history: History) -> None:
    def name(file: h5py.File) -> None:
        file.attrs["sequence"] = 12
        file.attrs["timestamp"] = "mine"
        file.attrs["other"] = 1

    history.edit(name)
    target = history.directory / "back.h5"
    restore(history.store, "-1", target)
    assert sha256(target) == sha256(history.source)
    with h5py.File(history.store, "r") as file:
        aside = file["_version_data/images/v1/root_attributes"].attrs
        assert dict(aside) == {"sequence": 12, "timestamp": "mine"}
        assert file[VERSIONS]["v1"].attrs["other"] == 1


@pytest.mark.parametrize("path", corpus_parameters())
def test_every_file_of_the_corpus_comes_back(tmp_path: Path, path: Path) -> None:
    store, target = tmp_path / "store.h5", tmp_path / "back"
    result = capture(path, store)
    restore(store, "-1", target)
    assert sha256(target) == sha256(path)
    try:
        h5py.File(path, "r", locking=False).close()
    except OSError:
        assert result.kept_as == "bytes"
        return
    assert result.kept_as == "tree"
    if not result.warnings:
        assert tree_differences(path, store, "v1") == []
    assert capture(path, store).version is None


def test_mode_and_modification_time_come_back(history: History) -> None:
    history.edit(fill)
    history.source.chmod(0o640)
    os.utime(history.source, ns=(10**18, 10**18 + 7))
    history.edit(lambda f: f.attrs.create("x", 1))
    os.utime(history.source, ns=(10**18, 10**18 + 7))
    history.source.unlink()
    restore(history.store, "v1", history.source)
    history.source.chmod(0o640)
    os.utime(history.source, ns=(10**18, 10**18 + 7))
    capture(history.source, history.store)
    target = history.directory / "back.h5"
    restore(history.store, "-1", target)
    status = target.stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o640, 10**18 + 7)


def test_a_truncated_source_is_kept_by_bytes_and_shares_with_the_whole_one(
    history: History,
) -> None:
    history.edit(fill)
    history.edit(lambda f: f.create_dataset("tail", data=NOISE, chunks=(4096,)))
    os.truncate(history.source, history.source.stat().st_size - 10_000)
    result = history.capture()
    assert result.kept_as == "bytes"
    assert "cut off: " in result.warnings[0]
    assert result.bytes_added < 20_000
    target = history.directory / "back"
    restore(history.store, "-1", target)
    assert sha256(target) == sha256(history.source)
    with h5py.File(history.store, "r") as file:
        assert list(file[VERSIONS]["v3"]) == []


@pytest.mark.parametrize("content", [b"", b"not HDF5", bytes(100_000)])
def test_a_file_that_is_not_hdf5_is_kept_by_bytes(history: History, content: bytes) -> None:
    history.source.write_bytes(content)
    result = history.capture()
    assert (result.kept_as, result.version) == ("bytes", "v1")
    target = history.directory / "back"
    restore(history.store, "v1", target)
    assert target.read_bytes() == content


def test_a_source_with_a_userblock(history: History) -> None:
    with h5py.File(history.source, "w", userblock_size=1024) as file:
        fill(file)
    with history.source.open("r+b") as raw:
        raw.write(b"instrument 7")
    history.capture()
    history.edit(lambda f: f["entry/counts"].__setitem__(2, 1))
    history.check()


def test_a_source_that_somebody_writes_is_refused(history: History) -> None:
    with h5py.File(history.source, "w") as file:
        fill(file)
        file.flush()
        with pytest.raises(SourceBusyError, match="writing"):
            history.capture()
    assert not history.store.exists()
    assert history.capture().version == "v1"


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_writer_that_comes_just_after_the_look_for_writers_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libver: str
) -> None:
    """It opens the file and writes a part, before anything is read."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["x"] = np.zeros(1000)
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); f['x'][:500] = 1; f.flush()"
    with ExitStack() as stack:

        def look_and_then_write(paths: list[Path]) -> dict[Path, WriterState]:
            found = writers(paths)
            stack.enter_context(other_process(code, path))
            return found

        monkeypatch.setattr(watchful, "writers", look_and_then_write)
        with pytest.raises(SourceChangedError):
            capture(path, tmp_path / "store.h5")
    assert not (tmp_path / "store.h5").exists()


def test_a_source_is_never_locked(history: History) -> None:
    history.edit(fill)
    held = []

    def look(_done: int, _total: int) -> None:
        held.append(history.source.stat().st_ino in _locked_inodes())

    history.edit(lambda f: f.attrs.create("x", 1))
    capture(history.source, history.directory / "other.h5", progress=look)
    assert held
    assert not any(held)


def _locked_inodes() -> set[int]:
    lines = Path("/proc/locks").read_text().splitlines()
    return {int(line.split()[5].split(":")[2]) for line in lines if "->" not in line}


def test_a_missing_source_leaves_no_store(history: History) -> None:
    with pytest.raises(SourceMissingError):
        history.capture()
    assert not history.store.exists()


def test_restore_never_replaces_a_file_unasked(history: History) -> None:
    history.edit(fill)
    with pytest.raises(TargetExistsError):
        restore(history.store, "-1", history.source)
    history.edit(lambda f: f.attrs.create("x", 1))
    restore(history.store, "v1", history.source, overwrite=True)
    assert sha256(history.source) == sha256(history.copies["v1"])


def test_a_damaged_chunk_is_not_restored(history: History) -> None:
    history.edit(fill)
    with open_store(history.store) as reader:
        address = int(reader.pools["raw"].table[0, 0])
    with history.store.open("r+b") as raw:
        raw.seek(address)
        byte = raw.read(1)
        raw.seek(address)
        raw.write(bytes([byte[0] ^ 1]))
    target = history.directory / "back.h5"
    with pytest.raises(StoreDamagedError):
        restore(history.store, "v1", target)
    assert sorted(p.name for p in history.directory.iterdir()) == [
        "source.h5",
        "store.h5",
        "v1.copy",
    ]


def test_significant_content_ignores_a_file_written_anew(tmp_path: Path) -> None:
    history = History(tmp_path, CaptureOptions(significant="content"))
    history.edit(fill)
    history.source.unlink()
    with h5py.File(history.source, "w", libver="latest") as file:
        fill(file)
    assert history.capture().version is None
    assert history.edit(lambda f: f["entry/small"].write_direct(np.array([7, 8, 9]))).version
