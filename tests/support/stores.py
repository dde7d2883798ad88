"""Small stores, and what is seen of them from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vh5d.hdf5.atomic_file import AtomicFile

V110 = ("v110", "v110")


def make_store(path: Path) -> Path:
    """A store with one dataset, x."""
    with AtomicFile.create(path) as atomic:
        with h5py.File(atomic, "w", libver=V110) as file:
            file["x"] = np.arange(1000)
        atomic.commit()
    return path


def add(atomic: AtomicFile, name: str, value: Any = 1) -> None:
    """Stage one more dataset."""
    with h5py.File(atomic, "r+", libver=V110) as file:
        file[name] = value


def names(path: Path) -> list[str]:
    """What plain h5py finds in a store."""
    with h5py.File(path, "r") as file:
        return sorted(file)


def listing(path: Path) -> list[str]:
    """What lies in the directory of a store."""
    return sorted(p.name for p in path.parent.iterdir())
