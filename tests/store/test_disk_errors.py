"""What a disk refuses is told as that, not as what HDF5 made of it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.support.other_process import run
from vh5d.capture.capture import capture
from vh5d.errors import StoreWriteError
from vh5d.store.compact import compact
from vh5d.store.prune import prune
from vh5d.testing.faults import Fault, SimulatedDisk


@pytest.fixture
def scene(tmp_path):
    """A source with a second state, and the store of the first."""
    source, directory = tmp_path / "source.h5", tmp_path / "disk"
    directory.mkdir()
    store = directory / "store.h5"
    for state in range(2):
        with h5py.File(source, "w") as file:
            file.create_dataset("frames", data=np.arange(6000) + state, chunks=(500,))
            file["group/words"] = np.array(["beam"] * 5, object)
        if state == 0:
            capture(source, store)
    return source, store


def tries(store, action):
    """Do it with an error at every read before the commit, the store as it was each time."""
    content = store.read_bytes()
    probe = SimulatedDisk(store.parent)
    action(probe)
    kinds = [call.kind for call in probe.calls]
    synced = next(number for number, kind in enumerate(kinds) if kind in {"fsync", "fdatasync"})
    reads = [number for number, kind in enumerate(kinds[:synced]) if kind == "preadv"]
    for number in reads[:: max(1, len(reads) // 25)]:
        store.write_bytes(content)
        yield SimulatedDisk(store.parent, faults=[Fault(number, "EIO")])
    store.write_bytes(content)


@pytest.mark.parametrize("act", ["capture", "prune", "compact"])
def test_a_read_that_fails_is_told_as_that_and_lets_go_of_the_store(scene, act):
    source, store = scene

    def action(disk):
        if act == "capture":
            capture(source, store, disk=disk)
        elif act == "prune":
            prune(store, ["v1"], allow_empty=True, disk=disk)
        else:
            compact(store, disk=disk)

    for disk in tries(store, action):
        with pytest.raises(StoreWriteError, match="Input/output error; check the disk"):
            action(disk)
        assert [path.name for path in store.parent.iterdir()] == ["store.h5"]
    action(None)


def test_a_disk_that_fails_while_a_store_is_made_leaves_no_lock(scene, tmp_path):
    source, _ = scene
    directory = tmp_path / "other"
    directory.mkdir()
    probe = SimulatedDisk(directory)
    capture(source, directory / "store.h5", disk=probe)
    (directory / "store.h5").unlink()
    first = next(number for number, call in enumerate(probe.calls) if call.kind == "pwrite")
    for at in range(first, first + 20):
        disk = SimulatedDisk(directory, faults=[Fault(at, "EIO", sticky=True)])
        with pytest.raises(StoreWriteError):
            capture(source, directory / "store.h5", disk=disk)
        assert not (directory / "store.h5.lock").exists()
    for path in directory.iterdir():
        path.unlink()
    assert capture(source, directory / "store.h5").version == "v1"


LIST = """
import sys
import h5py
from vh5d.hdf5.attributes import list_attributes
with h5py.File(sys.argv[1]) as file:
    print(list_attributes(file["frames"].id, tracked=False))
"""


def test_attributes_are_listed_of_a_dataset_whose_index_cannot_be_read(tmp_path):
    """HDF5 2.0 dies of it when it is asked for all there is to know of the object."""
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w", libver="v110") as file:
        shape = (4, 4)
        frames = file.create_dataset(
            "frames", shape, chunks=(1, 1), maxshape=(None, None), dtype="u1"
        )
        frames[:] = 1
        frames.attrs["unit"] = "counts"
    content = path.read_bytes()
    assert content.count(b"BTHD") == 1
    path.write_bytes(content.replace(b"BTHD", b"\0" * 4))
    assert run(LIST, path) == "[(b'unit', False)]"
