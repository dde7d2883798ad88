"""A netCDF-4 source gives a store that the netCDF library opens."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np

from vh5d.capture.capture import capture


def test_netcdf_opens_the_store_and_reads_every_version(tmp_path: Path) -> None:
    source, store = tmp_path / "source.nc", tmp_path / "store.h5"
    values = np.random.default_rng(0).normal(size=(3, 40, 60)).astype("f4")
    with netCDF4.Dataset(source, "w") as file:
        for name, size in (("time", None), ("lat", 40), ("lon", 60)):
            file.createDimension(name, size)
        temperature = file.createVariable("temperature", "f4", ("time", "lat", "lon"), zlib=True)
        temperature.units = "K"
        temperature[:] = values
        names = file.createGroup("sites").createVariable("name", str, ("lat",))
        names[:] = np.array([f"site {i}" for i in range(40)], object)
    assert capture(source, store).warnings == ()
    with netCDF4.Dataset(source, "a") as file:
        file["temperature"][1] = 7
    assert capture(source, store).version == "v2"
    changed = values.copy()
    changed[1] = 7
    with netCDF4.Dataset(store) as file:
        for version, want in (("v1", values), ("v2", changed)):
            group = file[f"_version_data/versions/{version}"]
            variable = group["temperature"]
            assert variable.dimensions == ("time", "lat", "lon")
            assert variable.units == "K"
            assert np.array_equal(variable[:], want)
            assert group["sites/name"][3] == "site 3"
