"""What a staged array reads, holds and hands on, beyond what h5py shows."""

from __future__ import annotations

import io
import time

import h5py
import ndindex
import numpy as np
import pytest

from vh5d.errors import StoreWriteError
from vh5d.versioned.array import StagedArray
from vh5d.versioned.spill import Scratch


class CountingFile(io.BytesIO):
    """A file for h5py that knows how much was read from it."""

    nbytes = 0
    calls = 0

    def readinto(self, buffer):
        n = super().readinto(buffer)
        self.nbytes += n
        self.calls += 1
        return n

    def reset(self):
        self.nbytes = self.calls = 0


@pytest.fixture
def counted():
    """A dataset of 1,000 chunks of 8 KB, without a chunk cache, in a file that counts reads."""
    under = CountingFile()
    with h5py.File(under, "w") as file:
        file.create_dataset("data", data=np.arange(1_024_000), chunks=(1024,), maxshape=(None,))
    with h5py.File(under, "r", rdcc_nbytes=0) as file:
        assert file["data"][()].sum() > 0  # the chunk index is read and kept
        under.reset()
        yield file["data"], under


def over(base, **options):
    return StagedArray(base.shape, base.dtype, base.chunks, base.maxshape, base=base, **options)


def test_nothing_is_read_before_it_is_asked_for(counted):
    base, under = counted
    staged = over(base)
    staged.resize((2_000_000,))
    staged.resize((500_000,))
    assert staged.shape == (500_000,)
    assert under.nbytes == 0


def test_changing_an_element_reads_one_chunk(counted):
    base, under = counted
    staged = over(base)
    staged[5000] = -1
    staged[5001] = -2
    assert staged[4999:5003].tolist() == [4999, -1, -2, 5002]
    assert under.nbytes == 8192
    (((place,), values),) = staged.dirty()
    assert place == 4
    assert values[5000 - 4096 : 5002 - 4096].tolist() == [-1, -2]
    assert under.nbytes == 8192


def test_overwriting_reads_only_what_is_left_of_the_chunks_at_the_ends(counted):
    base, under = counted
    staged = over(base)
    staged[1024:90_112] = 0
    assert under.nbytes == 0
    staged[200_000:400_000] = 1
    assert under.nbytes == 2 * 8192
    staged[...] = 2
    assert under.nbytes == 2 * 8192


def test_a_full_read_after_a_change_is_one_read_of_the_base(counted):
    base, under = counted
    staged = over(base)
    staged[1000:600_000:50_000] = -1
    under.reset()
    expected = base[:]
    plain_calls = under.calls
    expected[1000:600_000:50_000] = -1
    under.reset()
    np.testing.assert_array_equal(staged[()], expected)
    assert under.calls == plain_calls


def test_one_element_among_32000_chunks_takes_less_than_a_millisecond():
    with h5py.File("many", "w", driver="core", backing_store=False) as file:
        base = file.create_dataset("data", shape=(32_000 * 16,), chunks=(16,), dtype="i4")
        base[...] = 1
        staged = over(base)
        staged[0] = 1
        took = []
        for i in range(100):
            start = time.perf_counter()
            staged[i * 5000] = 7
            took.append(time.perf_counter() - start)
        assert np.median(took) < 1e-3
        assert len(list(staged.dirty())) == 100


def test_unchanged_means_unchanged(counted):
    base, _ = counted
    staged = over(base)
    assert staged.same_layout_as_base
    assert not staged.changed
    staged[()]
    staged[np.arange(1_024_000) % 500_000 == 3]
    with pytest.raises(IndexError):
        staged[2_000_000] = 3
    with pytest.raises(TypeError):
        staged[:10] = np.zeros(11)
    assert not staged.changed
    assert not list(staged.dirty())
    assert staged.removed().shape == (0, 1)
    staged[4] = 4
    assert staged.changed


def test_what_was_cut_off_is_removed_and_the_cut_chunk_rewritten(counted):
    base, _ = counted
    staged = over(base)
    staged.resize((1_021_000,))
    assert staged.changed
    (((place,), values),) = staged.dirty()
    assert place == 997
    assert values[:72].tolist() == list(range(997 * 1024, 1_021_000))
    assert not values[72:].any()
    assert staged.removed().tolist() == [[998], [999]]
    places = np.arange(995, 1000, dtype=np.uint64)[:, np.newaxis]
    assert staged.keeps(places).tolist() == [True, True, False, False, False]


def test_ndindex_objects_are_indexes():
    staged = StagedArray.from_array(np.arange(20).reshape(4, 5), (2, 2))
    assert staged[ndindex.Integer(1)].tolist() == [5, 6, 7, 8, 9]
    assert staged[ndindex.Tuple(slice(0, 2), 3)].tolist() == [3, 8]
    assert staged[ndindex.ellipsis()].shape == (4, 5)
    assert staged[ndindex.IntegerArray([0, 3])].shape == (2, 5)
    staged[ndindex.Slice(0, 1)] = 0
    assert staged[0].tolist() == [0] * 5


def test_a_value_is_broadcast_over_blocks():
    staged = StagedArray.from_array(np.arange(60).reshape(10, 6), (2, 2))
    expected = staged[()]
    staged[h5py.MultiBlockSlice(start=1, stride=3, count=3, block=2)] = -1
    expected[[1, 2, 4, 5, 7, 8]] = -1
    staged[h5py.MultiBlockSlice(start=0, stride=2, count=1, block=2), 3:] = [7, 8, 9]
    expected[:2, 3:] = [7, 8, 9]
    np.testing.assert_array_equal(staged[()], expected)
    with pytest.raises(TypeError):
        staged[h5py.MultiBlockSlice(start=0, stride=2, count=2, block=1)] = np.zeros(5)


def test_an_array_given_at_first_is_copied_and_all_of_it_is_dirty():
    data = np.arange(50.0)
    staged = StagedArray.from_array(data, (8,), (None,))
    data[:] = -1
    staged[9] = 100
    assert staged[8:11].tolist() == [8, 100, 10]
    chunks = dict(staged.dirty())
    assert sorted(chunks) == [(i,) for i in range(7)]
    assert chunks[6,].tolist() == [48, 49, 0, 0, 0, 0, 0, 0]
    assert staged.astype("i4")[8:11].tolist() == [8, 100, 10]
    assert sorted(dict(staged.dirty())) == [(i,) for i in range(7)]
    assert not staged.removed().size


def test_a_sparse_dataset_costs_what_was_written():
    staged = StagedArray((2**40, 2**20), "f4", (1000, 1000), (None, None), fillvalue=1.5)
    staged[2**39, 17] = 3
    staged[5, 5] = 4
    assert staged[2**39 - 1 : 2**39 + 1, 17].tolist() == [1.5, 3]
    assert [place for place, _ in staged.dirty()] == [(0, 0), (2**39 // 1000, 0)]


def test_a_budget_is_kept_by_spilling(tmp_path, counted):
    base, _ = counted
    budget = 400_000
    with Scratch(budget, directory=tmp_path) as scratch:
        staged = over(base, scratch=scratch)
        other = over(base, scratch=scratch)
        for start in range(0, 1_024_000, 10_240):
            staged[start : start + 5_000] = start
            other[start] = start
            assert scratch.held_bytes <= budget
        assert scratch.spilled
        expected = base[:]
        for start in range(0, 1_024_000, 10_240):
            expected[start : start + 5_000] = start
        np.testing.assert_array_equal(staged[:], expected)
        np.testing.assert_array_equal(other[:], base[:])
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_at_once(tmp_path, counted):
    base, _ = counted
    with Scratch(10_000, directory=tmp_path / "is not there") as scratch:
        staged = over(base, scratch=scratch)
        with pytest.raises(StoreWriteError, match="temporary file"):
            staged[::1024] = 1


def test_it_looks_like_a_dataset(counted):
    base, _ = counted
    staged = over(base)
    for name in ("shape", "dtype", "ndim", "size", "nbytes", "chunks", "maxshape", "fillvalue"):
        assert getattr(staged, name) == getattr(base, name), name
    assert len(staged) == len(base)
    staged.resize(5000, axis=0)
    staged[10] = -1
    assert list(staged)[8:12] == [8, 9, -1, 11]
    assert list(staged.iter_chunks())[-1] == (slice(4096, 5000, 1),)
    assert np.asarray(staged).sum() == sum(range(5000)) - 11


def test_direct_reads_and_writes(counted):
    base, _ = counted
    staged = over(base)
    staged.write_direct(np.arange(20), np.s_[5:10], np.s_[100:105])
    whole = np.empty(base.shape, "f8")
    staged.read_direct(whole)
    assert whole[99:106].tolist() == [99, 5, 6, 7, 8, 9, 105]
    part = np.zeros(6, "i2")
    staged.read_direct(part, np.s_[103:107], np.s_[1:5])
    assert part.tolist() == [0, 8, 9, 105, 106, 0]
    assert [place for place, _ in staged.dirty()] == [(0,)]


@pytest.mark.parametrize("size", [(11,), (5, 5), "x", -1])
def test_what_h5py_does_not_resize_is_not_resized(size):
    with h5py.File("max", "w", driver="core", backing_store=False) as file:
        base = file.create_dataset("data", data=np.arange(7), chunks=(3,), maxshape=(10,))
        staged = over(base)
        with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever h5py raises
            base.resize(size)
        with pytest.raises(theirs.type):
            staged.resize(size)
        assert staged.shape == (7,)
        assert not staged.changed


def test_a_base_of_another_shape_is_refused(counted):
    base, _ = counted
    with pytest.raises(ValueError, match="the base has shape"):
        StagedArray((5,), base.dtype, (2,), base=base)
