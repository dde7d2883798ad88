"""One version by versioned-hdf5, as its users write it: the data is assigned in a staged version.

    python stage_versioned.py SOURCE STORE VERSION [--frames 3,14,15]

Without --frames the whole array is assigned, and versioned-hdf5 finds out what changed: what a
program does that sees a file and does not know its history. With --frames only those are: what
the instrument's own program could do. versioned-hdf5 leaves the file to the page cache; here it is
synced when it has been closed, so that it is as durable as the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
from detector import DATASET, sync
from versioned_hdf5 import VersionedHDF5File


def stage(source: Path, store: Path, version: str, frames: list[int] | None) -> None:
    """Commit what the source holds as a version of the store."""
    with h5py.File(source) as instrument, h5py.File(store, "a") as file:
        counts = instrument[DATASET]
        with VersionedHDF5File(file).stage_version(version) as group:
            if DATASET not in group:
                group.create_dataset(DATASET, data=counts[()], chunks=counts.chunks)
            elif frames is None:
                group[DATASET][...] = counts[()]
            else:
                for index in frames:
                    group[DATASET][index] = counts[index]
    sync(store)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description="Commit a version with versioned-hdf5.")
    parser.add_argument("source", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("version")
    parser.add_argument("--frames", help="assign only these")
    options = parser.parse_args()
    frames = None
    if options.frames is not None:
        frames = [int(index) for index in options.frames.split(",") if index]
    stage(options.source, options.store, options.version, frames)


if __name__ == "__main__":
    main()
