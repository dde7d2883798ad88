"""Sources of HDF5's newest format: what is kept of them, older libraries read."""

from __future__ import annotations

import shutil
import subprocess

import h5py
import numpy as np
import pytest

from vh5d.capture.capture import capture


@pytest.mark.parametrize("maxshape", [None, (None, None), (None, 48)])
def test_filtered_chunks_of_the_newest_format(tmp_path, maxshape):
    source, store = tmp_path / "source.h5", tmp_path / "store.h5"
    frames = np.random.default_rng(1).poisson(3, (40, 48)).astype("u2")
    for rows in (40, 33):
        with h5py.File(source, "w", libver="latest") as file:
            options = {"chunks": (7, 9), "maxshape": maxshape, "compression": "gzip"}
            file.create_dataset("data", data=frames[:rows], **options)
        version = capture(source, store).version
        name = f"/_version_data/versions/{version}/data"
        with h5py.File(store, "r") as file:
            np.testing.assert_array_equal(file[name][()], frames[:rows])
        if shutil.which("h5dump"):
            subprocess.run(["h5dump", "-d", name, store], check=True, capture_output=True)
