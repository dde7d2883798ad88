"""Makes a file with whatever versioned-hdf5 is installed: python make.py OUT.

The history is written down here as well, for tests to compare with. It only does what every
release since 1.0 can do beside an h5py of today.
"""

from __future__ import annotations

import datetime as dt
import sys

import numpy as np

START = dt.datetime(2021, 5, 1, 12, 30, 15, 250, tzinfo=dt.UTC)
CHUNKS = {"numbers": (50,), "group/cube": (3, 4, 4), "names": (4,), "empty": (8,)}


def history():
    """Return by version: the version before, and the values of its datasets."""
    numbers = np.arange(220.0)
    cube = (np.arange(10 * 7 * 5) % 23).astype("<i2").reshape(10, 7, 5)
    names = np.array([b"ab", "d\u00e9f".encode(), b"c"] * 3, object)
    changed = numbers.copy()
    changed[60] = -1
    grown = np.zeros((11, 7, 6), "<i2")
    grown[:10, :, :5] = cube
    grown[10, 6, 5] = 77
    first = {"numbers": numbers, "group/cube": cube, "names": names}
    second = {"numbers": changed, "group/cube": grown, "names": np.append(names, [b"new"])}
    return {
        "first": ("__first_version__", first),
        "second": ("first", second),
        "other": ("first", {"names": names[:5], "empty": np.zeros((0,))}),
        "third": ("second", {**second, "group/cube": cube[:5], "numbers": np.full(3, 2.5)}),
    }


def write(group, values, before):
    """Make a version's datasets what they are to be."""
    import h5py

    for path in before:
        if path not in values:
            del group[path]
    for path, data in values.items():
        if path in before:
            if before[path].shape == data.shape and (before[path] == data).all():
                continue
            del group[path]
        strings = {"dtype": h5py.string_dtype()} if data.dtype == object else {}
        filters = {"compression": "gzip"} if path == "group/cube" else {}
        group.create_dataset(path, data=data, chunks=CHUNKS[path], **strings, **filters)
        group[path].attrs["unit"] = f"of {path}"


def main(path):
    """Write the file."""
    import h5py
    from versioned_hdf5 import VersionedHDF5File

    made = history()
    with h5py.File(path, "w") as file:
        versioned = VersionedHDF5File(file)
        for number, (name, (previous, values)) in enumerate(made.items()):
            before = {} if number == 0 else made[previous][1]
            time = START + dt.timedelta(hours=number)
            with versioned.stage_version(
                name, prev_version=previous if number else None, timestamp=time
            ) as group:
                write(group, values, before)
                group.attrs["title"] = f"{name} of the history"
        versioned.current_version = "third"


if __name__ == "__main__":
    main(sys.argv[1])
