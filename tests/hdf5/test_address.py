"""Objects by their addresses."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from vh5d.hdf5.address import address_of, link, open_by_address, open_many_by_address


@pytest.fixture(params=[None, "latest"])
def file(request, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver=request.param, userblock_size=512) as file:
        for i in range(20):
            file[f"group/data{i}"] = np.arange(i)
        file["type"] = np.dtype("i4")
        yield file


def test_every_kind_of_object(file):
    for path in ("/", "group", "group/data7", "type"):
        obj = file[path]
        opened = open_by_address(file.id, address_of(obj.id))
        assert type(opened) is type(obj.id)
        assert opened == obj.id


def test_many_at_once_in_their_order(file):
    addresses = [address_of(file[f"group/data{i}"].id) for i in range(20)]
    opened = open_many_by_address(file.id, reversed(addresses))
    assert [h5py.Dataset(each).shape for each in opened] == [(i,) for i in reversed(range(20))]
    assert open_many_by_address(file.id, []) == []


def test_two_files_open_at_once(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = 5
        opened = open_by_address(other.id, address_of(other["x"].id))
        assert h5py.Dataset(opened)[()] == 5


def test_no_object_there(file):
    with pytest.raises((RuntimeError, ValueError, KeyError)):
        open_by_address(file.id, 7)


def test_link(file):
    link(file["group/data3"].id, file["group"].id, b"again")
    assert file["group/again"] == file["group/data3"]
