"""The main job, with real processes: files change, and their versions are there."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.waiting import wait_for
from vh5d.capture.restore import restore
from vh5d.errors import StoreBusyError
from vh5d.store.reader import open_store
from vh5d.store.versions import VersionInfo

FILES = 20
ROUNDS = 10
STOP_AFTER = 5


def store_of(path: Path, data: Path) -> Path:
    return data / ".vh5d" / path.relative_to(data)


def versions(path: Path, data: Path) -> list[VersionInfo]:
    store = store_of(path, data)
    if not store.exists():
        return []
    try:
        with open_store(store) as reader:
            return reader.versions
    except StoreBusyError:  # a commit is being applied
        return []


def kept(path: Path, data: Path) -> VersionInfo | None:
    """The version of the file as it is now."""
    stat = path.stat()
    for version in versions(path, data):
        if (version.source_size, version.source_mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return version
    return None


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Written:
    """A state of a file that was left alone until it was kept."""

    path: Path
    digest: str
    frames: np.ndarray
    version: str


class Instrument:
    """Changes files in the ways that programs do."""

    def __init__(self, data: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.paths = [data / f"sub{n % 3}" / f"run{n:02}.h5" for n in range(FILES)]
        self.frames: dict[Path, np.ndarray] = {}

    def change(self, path: Path) -> None:
        if path not in self.frames:
            path.parent.mkdir(exist_ok=True)
            self.write(path, self.new_frames())
            return
        self.random.choice([self.append, self.rewrite, self.replace, self.write_again])(path)

    def new_frames(self) -> np.ndarray:
        return self.numbers.poisson(3, (self.random.randint(1, 6), 32, 48)).astype("u2")

    def write(self, path: Path, frames: np.ndarray) -> None:
        with h5py.File(path, "w", libver=self.random.choice(["earliest", "latest"])) as file:
            file.attrs["frames"] = len(frames)
            compression = self.random.choice([None, "gzip"])
            file.create_dataset(
                "entry/data",
                data=frames,
                chunks=(1, 32, 48),
                maxshape=(None, 32, 48),
                compression=compression,
            )
        self.frames[path] = frames

    def append(self, path: Path) -> None:
        more = self.new_frames()
        with h5py.File(path, "a") as file:
            dataset = file["entry/data"]
            before = len(dataset)
            dataset.resize(before + len(more), axis=0)
            dataset[before:] = more
        self.frames[path] = np.concatenate([self.frames[path], more])

    def rewrite(self, path: Path) -> None:
        frames = self.frames[path].copy()
        at = self.random.randrange(len(frames))
        frames[at] = self.numbers.poisson(5, (32, 48))
        with h5py.File(path, "a") as file:
            file["entry/data"][at] = frames[at]
        self.frames[path] = frames

    def replace(self, path: Path) -> None:
        """As labs do: another name first, then renamed over."""
        temporary = path.with_suffix(".tmp")
        self.write(temporary, self.new_frames())
        self.frames[path] = self.frames.pop(temporary)
        temporary.replace(path)

    def write_again(self, path: Path) -> None:
        self.write(path, self.new_frames())


@pytest.mark.timeout(180)
def test_every_settled_state_is_kept_through_a_stop_and_a_start(data, up):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    instrument = Instrument(data, seed)
    written: list[Written] = []
    up.start()
    for round_ in range(ROUNDS):
        changed = instrument.random.sample(instrument.paths, k=FILES if round_ == 0 else 10)
        for path in changed:
            instrument.change(path)
        if round_ == STOP_AFTER:
            assert up.stop() == 0
            missed = instrument.paths[::4]
            for path in missed:
                instrument.change(path)
            changed += missed
            up.start()
        if instrument.random.random() < 0.3 and round_ < ROUNDS - 1:
            continue  # not left alone: the next round may come before its version
        for path in dict.fromkeys(changed):
            version = wait_for(lambda path=path: kept(path, data), f"{path.name} of {round_}")
            written.append(Written(path, digest(path), instrument.frames[path], version.name))
    assert up.stop() == 0
    assert len(written) >= FILES
    check(written, data)
    assert [record for record in up.records if record["level"] in {"error", "critical"}] == []


def check(written: list[Written], data: Path) -> None:
    for state in written:
        store = store_of(state.path, data)
        target = data.parent / "back.h5"
        restore(store, state.version, target, overwrite=True)
        assert digest(target) == state.digest
        with h5py.File(store, "r") as file:
            dataset = file[f"_version_data/versions/{state.version}/entry/data"]
            np.testing.assert_array_equal(dataset[()], state.frames)


def write_h5py(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.random.default_rng().random(1000)


def write_nexus(path: Path) -> None:
    from nexusformat.nexus import NXdata, NXentry, NXfield, NXroot

    signal = NXfield(np.arange(1000.0), name="signal")
    NXroot(NXentry(NXdata(signal))).save(path, "w")


def write_netcdf(path: Path) -> None:
    from netCDF4 import Dataset

    with Dataset(path, "w") as dataset:
        dataset.createDimension("time", None)
        dataset.createVariable("t", "f8", ("time",))[:] = np.arange(100.0)


def arrive_by_copy(path: Path) -> None:
    outside = path.parent.parent / "outside.h5"
    write_h5py(outside)
    shutil.copy(outside, path)


def arrive_by_move(path: Path) -> None:
    outside = path.parent.parent / "outside.h5"
    write_h5py(outside)
    outside.rename(path)


def arrive_by_rename(path: Path) -> None:
    write_h5py(path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def arrive_in_a_directory(path: Path) -> None:
    outside = path.parent.parent / "outside"
    outside.mkdir()
    write_h5py(outside / path.name)
    outside.rename(path.with_suffix(""))


def test_files_from_anywhere_get_their_version(data, up):
    """Within settle + 1 s, by measurement (printed); asserted is only that it comes."""
    up.start()
    latencies = {}
    ways = {
        "h5py": (write_h5py, "a.h5"),
        "nexusformat": (write_nexus, "b.nxs"),
        "netCDF4": (write_netcdf, "c.nc"),
        "copied": (arrive_by_copy, "d.h5"),
        "moved": (arrive_by_move, "e.h5"),
        "renamed": (arrive_by_rename, "f.h5"),
        "in a directory": (arrive_in_a_directory, "g.h5"),
        "h5py again": (write_h5py, "a.h5"),
    }
    for way, (write, name) in ways.items():
        path = data / name
        write(path)
        if way == "in a directory":
            path = path.with_suffix("") / name
        version = wait_for(lambda path=path: kept(path, data), way)
        latencies[way] = version.timestamp.timestamp() - path.stat().st_ctime
    print({way: round(seconds, 3) for way, seconds in latencies.items()})
    assert {source["state"] for source in up.status()["sources"]} == {"current"}
    assert up.stop() == 0


def test_a_renamed_file_takes_its_history_along(data, up):
    up.start()
    old, new = data / "old.h5", data / "new.h5"
    write_h5py(old)
    wait_for(lambda: kept(old, data), "the first version")
    old.rename(new)
    wait_for(lambda: versions(new, data), "the history under the new name")
    with h5py.File(new, "a") as file:
        file["x"][0] = 7
    wait_for(lambda: kept(new, data), "a version under the new name")
    assert [version.name for version in versions(new, data)] == ["v1", "v2"]
    assert not store_of(old, data).exists()
    states = {Path(source["path"]).name: source["state"] for source in up.status()["sources"]}
    assert states == {"old.h5": "missing", "new.h5": "current"}


def test_a_deleted_file_keeps_its_history(data, up):
    up.start()
    path = data / "a.h5"
    write_h5py(path)
    wait_for(lambda: kept(path, data), "the version")
    path.unlink()
    wait_for(lambda: up.status()["sources"][0]["state"] == "missing", "the news")
    assert len(versions(path, data)) == 1


def test_a_file_that_stays_open_is_kept_when_it_is_closed(data, up):
    up.start()
    path = data / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(10)
        file.flush()
        write_h5py(data / "other.h5")
        wait_for(lambda: kept(data / "other.h5", data), "another file")
        assert versions(path, data) == []
    wait_for(lambda: kept(path, data), "the file")


def test_a_file_that_is_no_hdf5_is_kept_by_bytes(data, up):
    up.start()
    path = data / "broken.h5"
    path.write_bytes(os.urandom(5000))
    wait_for(lambda: kept(path, data), "the bytes")
    wait_for(lambda: up.status()["sources"][0]["state"] == "unreadable", "the state")
    restore(store_of(path, data), "v1", data.parent / "back")
    assert (data.parent / "back").read_bytes() == path.read_bytes()
