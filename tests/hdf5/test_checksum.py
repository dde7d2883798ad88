"""HDF5's metadata checksum, against Jenkins' own examples, a second implementation and HDF5."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from h5py import h5o
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lookup3 import hashlittle
from vh5d.hdf5.checksum import checksum, lookup3


def test_examples_of_its_author():
    # driver5() of lookup3.c
    assert checksum(b"") == (0xDEADBEEF).to_bytes(4, "little")
    assert checksum(b"Four score and seven years ago") == (0x17770551).to_bytes(4, "little")


@given(st.binary(max_size=200))
def test_one_block_as_a_word_at_a_time(data):
    assert checksum(data) == hashlittle(data).to_bytes(4, "little")
    assert checksum(bytearray(data)) == checksum(memoryview(data)) == checksum(data)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 100])
@pytest.mark.parametrize("nbytes", [0, 1, 11, 12, 13, 24, 508, 2044])
def test_many_blocks_as_one_at_a_time(n, nbytes):
    rows = np.random.default_rng(n * nbytes).integers(0, 256, (n, nbytes), np.uint8)
    assert lookup3(rows).tolist() == [
        int.from_bytes(checksum(row.tobytes()), "little") for row in rows
    ]


def test_blocks_that_do_not_lie_side_by_side():
    frame = np.random.default_rng(1).integers(0, 256, (40, 100), np.uint8)
    assert np.array_equal(lookup3(frame[::2, 3:77]), lookup3(frame[::2, 3:77].copy()))


def test_more_blocks_than_are_done_at_once():
    rows = np.random.default_rng(2).integers(0, 256, (40_000, 8), np.uint8)
    sums = lookup3(rows)
    assert len(sums) == 40_000
    for i in (0, 16_383, 16_384, 39_999):
        assert sums[i] == hashlittle(rows[i].tobytes())


def test_superblock_and_object_header_of_hdf5(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        address = h5o.get_info(file.id).addr
    data = path.read_bytes()
    assert checksum(data[:44]) == data[44:48]
    size = data[address + 6] if data[address + 5] & 3 == 0 else None
    assert size is not None, "the root group of an empty file has a small header"
    end = address + 7 + (16 if data[address + 5] & 0x20 else 0)
    end = end + data[end - 1]
    assert checksum(data[address:end]) == data[end : end + 4]
