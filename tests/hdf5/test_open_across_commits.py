"""A store that stays open in h5py over several commits."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.support.stores import V110
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.superblock import parse_superblock


@pytest.mark.parametrize("size", ["the same", "larger"])
def test_each_commit_can_be_read_by_others(tmp_path, size):
    store = tmp_path / "store.h5"
    with AtomicFile.create(store) as atomic, h5py.File(atomic, "w", libver=V110) as file:
        file["x"] = np.zeros(5000)
        for i in range(1, 4):
            file["x"][:] = i
            if size == "larger":
                file[f"y{i}"] = np.full(3000, i)
            file.flush()
            atomic.commit()
            assert not parse_superblock(store.read_bytes()[:128]).status_flags
            with h5py.File(store, "r") as theirs:
                assert (theirs["x"][:] == i).all()
