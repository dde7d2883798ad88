"""Datasets without chunks, edited as h5py edits them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from vh5d.versioned.array_whole import WholeArray


@pytest.fixture
def file():
    with h5py.File("whole", "w", driver="core", backing_store=False) as file:
        yield file


def over(base):
    return WholeArray(base.shape, base.dtype, base=base)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (1.5, 2.5),
        (np.int16(3), 4),
        ("text", "other"),
        (np.void(b"abc"), np.void(b"xyz")),
        (True, False),
        (np.array([1, 2, 3]), 7),
    ],
)
def test_a_value_is_replaced_and_the_base_is_not(file, first, then):
    file["base"] = first
    file["oracle"] = first
    staged = over(file["base"])
    assert not staged.changed
    staged[()] = then
    file["oracle"][()] = then
    assert staged.changed
    np.testing.assert_array_equal(staged[()], file["oracle"][()])
    assert staged.dtype == file["oracle"].dtype
    assert not np.array_equal(file["base"][()], staged[()])
    file.create_dataset("copy", shape=staged.shape, dtype=staged.dtype)
    staged.write_to(file["copy"])
    np.testing.assert_array_equal(file["copy"][()], file["oracle"][()])


def test_a_null_dataspace_stays_null(file):
    file["base"] = h5py.Empty("f4")
    staged = over(file["base"])
    assert staged.shape is None
    assert staged.size is None
    assert staged[()] == h5py.Empty(np.dtype("f4"))
    with pytest.raises(OSError, match="write"):
        file["base"][()] = 1
    with pytest.raises(OSError, match="write"):
        staged[()] = 1
    assert not staged.changed
    assert staged[()] == h5py.Empty(np.dtype("f4"))


def test_a_variable_length_scalar_is_copied(file):
    base = file.create_dataset("base", shape=(), dtype=h5py.vlen_dtype("i4"))
    base[()] = np.array([1, 2, 3])
    staged = over(base)
    with pytest.raises(TypeError):
        staged["field"] = 1
    assert staged[()].tolist() == [1, 2, 3]
    staged[()] = np.array([4])
    file.create_dataset("copy", shape=(), dtype=base.dtype)
    staged.write_to(file["copy"])
    assert file["copy"][()].tolist() == [4]


def test_part_of_a_contiguous_dataset_is_changed(file):
    base = file.create_dataset("base", data=np.arange(12).reshape(3, 4), fillvalue=9)
    staged = over(base)
    staged[1, ::2] = -1
    assert staged[:].tolist() == [[0, 1, 2, 3], [-1, 5, -1, 7], [8, 9, 10, 11]]
    assert base[1].tolist() == [4, 5, 6, 7]
    assert staged.fillvalue == 9
    assert staged.maxshape == (3, 4)
    assert staged.chunks is None
    assert staged.astype("f4")[0, 0].dtype == "f4"
    assert staged[base.regionref[1, 0:2]].tolist() == [[-1, 5]]
    with pytest.raises(TypeError, match="resized"):
        staged.resize((5, 4))
    with pytest.raises(TypeError):
        staged.iter_chunks()


def test_what_is_new_has_fill_values():
    staged = WholeArray((3,), "i4", fillvalue=4)
    assert staged.changed
    staged[1] = 0
    assert staged[()].tolist() == [4, 0, 4]
    staged.write_direct(np.array([8, 9, 10]), np.s_[1:2], np.s_[2:3])
    out = np.zeros(3)
    staged.read_direct(out)
    assert out.tolist() == [4, 0, 9]
    assert len(staged) == 3
    with pytest.raises(TypeError):
        len(WholeArray((), "i4"))
    staged.close()
