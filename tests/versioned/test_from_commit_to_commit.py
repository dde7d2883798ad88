"""What is kept from one commit to the next: a draft's file, open tables, headers of a kind."""

from __future__ import annotations

from itertools import product

import h5py
import numpy as np
import pytest

from vh5d import VersionedHDF5File
from vh5d.hdf5.metadata_cache import begin_lean


class AsideError(Exception):
    pass


def test_a_draft_begins_empty_and_what_was_open_in_the_last_is_closed(vf):
    left = []
    for number in range(6):
        with pytest.raises(AsideError), vf.stage_version("gone") as group:  # noqa: PT012
            assert "thrown away" not in group
            group.create_dataset("thrown away", data=np.arange(5000))
            group["thrown away"].attrs["a"] = "text"
            left += [group, group["thrown away"], group["thrown away"].attrs.get_id("a")]
            raise AsideError
        assert not any(each.id if isinstance(each, h5py.HLObject) else each for each in left)
        with vf.stage_version(f"v{number}") as group:
            assert list(group) == ([] if not number else ["x"])
            if not number:
                group["x"] = np.arange(10_000)
            group["x"][number] = -1
        assert (vf[f"v{number}"]["x"][: number + 1] == -1).all()


def test_two_drafts_at_once(vf):
    with vf.stage_version("a") as one:
        one["x"] = np.arange(5000)
        with vf.stage_version("b") as other:
            other["y"] = np.arange(6000)
        one["x"][0] = -1
    assert list(vf["a"]) == ["x"]
    assert list(vf["b"]) == ["y"]
    assert vf["a"]["x"][0] == -1
    assert vf["b"]["y"][5999] == 5999


def test_a_draft_with_filters_of_others_is_not_used_again(vf):
    for number in range(4):
        with vf.stage_version(f"v{number}") as group:
            if not number:
                group.create_dataset("x", data=np.arange(9000), chunks=(900,), compression="lzf")
            group["x"][number * 1000] = -1
    assert [vf[f"v{n}"]["x"][:].tolist().count(-1) for n in range(4)] == [1, 2, 3, 4]


def test_datasets_that_differ_in_little_are_what_they_are(vf):
    """Shape of the chunks, limits, fill values and extents."""
    kinds = list(product([(64,), (128,)], [None, 4096], [0, 7], [1000, 2000], ["<f8", ">i8"]))
    for name in ("one", "two"):
        with vf.stage_version(name) as group:
            for i, (chunks, limit, fill, length, dtype) in enumerate(kinds):
                options = {"chunks": chunks, "maxshape": (limit,), "fillvalue": fill}
                if name == "one":
                    group.create_dataset(f"d{i}", (length,), dtype=dtype, **options)
                group[f"d{i}"][10:20] = i
    for i, (chunks, limit, fill, length, dtype) in enumerate(kinds):
        made = vf["two"][f"d{i}"]
        assert (made.chunks, made.maxshape, made.shape) == (chunks, (limit,), (length,))
        assert (made.dtype, made.fillvalue) == (np.dtype(dtype), fill)
        assert made[9] == fill
        assert (made[10:20] == i).all()


def test_chunks_of_long_ago_are_found_again(vf, reopen):
    with vf.stage_version("v0") as group:
        group.create_dataset("x", data=np.arange(20_000), chunks=(100,))
    for number in range(1, 90):
        with vf.stage_version(f"v{number}") as group:
            group["x"][number * 100] = -1
    vf = reopen()
    with vf.stage_version("last") as group:
        group["x"][0] = -1
        group["x"][5050] = -1
    values = vf["last"]["x"][:]
    assert values[100:9000:100].tolist() == [-1] * 89
    assert values[[0, 5050, 5051, 19_999]].tolist() == [-1, -1, 5051, 19_999]


def test_another_writer_of_the_same_file_is_noticed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        both = [VersionedHDF5File(file), VersionedHDF5File(file)]
        for number in range(8):
            with both[number % 2].stage_version(f"v{number}") as group:
                if not number:
                    group.create_dataset("x", data=np.arange(1000), chunks=(100,))
                group["x"][number * 100] = -1
            if number == 5:
                del both[0]["v4"]
        assert (both[0]["v7"]["x"][:800:100] == -1).all()


def test_a_cache_that_somebody_chose_is_left_alone(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        config = file.id.get_mdc_config()
        config.set_initial_size, config.initial_size = True, 4 << 20
        file.id.set_mdc_config(config)
        begin_lean(file.id)
        assert file.id.get_mdc_size()[0] == 4 << 20
    with h5py.File(tmp_path / "b.h5", "w") as file:
        begin_lean(file.id)
        assert file.id.get_mdc_size()[0] == 512 << 10
