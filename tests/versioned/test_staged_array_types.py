"""Every element type that h5py has, read, written and refused as h5py does."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from vh5d.versioned.array import StagedArray

COMPOUND = np.dtype([("a", "<i4"), ("b", "f8", (2,)), ("s", "S3")])
ENUM = h5py.enum_dtype({"RED": 0, "GREEN": 1}, basetype="i1")


def sample(dtype, n):
    """Return n values of a type."""
    raw = np.random.default_rng(n).integers(0, 120, n)
    if dtype == ENUM:
        raw %= 2
    element = h5py.check_vlen_dtype(dtype)
    string = h5py.check_string_dtype(dtype)
    if dtype.kind == "O" and string is not None:
        letter = "é" if string.encoding == "utf-8" else "e"
        values = np.array([f"{letter}{k}" * (k % 3) for k in range(n)], object)
    elif element is not None:
        values = np.empty(n, dtype)
        values[:] = [np.arange(k % 3, dtype=element) for k in range(n)]
    elif dtype.names:
        values = np.zeros(n, dtype)
        values["a"], values["b"], values["s"] = raw, raw[:, np.newaxis], raw.astype("S3")
    elif dtype.subdtype is not None:
        values = np.arange(n * 3, dtype=dtype.base).reshape(n, 3)
    elif dtype.kind == "V":
        values = np.repeat(raw.astype("u1"), dtype.itemsize).view(dtype)
    elif dtype.kind == "S":
        values = raw.astype("S4").astype(dtype)
    else:
        values = raw.astype(dtype)
    return values


TYPES = [
    np.dtype(name)
    for name in ["i1", "u1", ">i2", "<u4", "i8", "u8", "f2", ">f4", "f8", "c8", "c16", "?", "S5"]
] + [
    np.dtype("V6"),
    COMPOUND,
    ENUM,
    np.dtype(("<i4", (3,))),
    h5py.string_dtype(),
    h5py.string_dtype("ascii"),
    h5py.string_dtype("utf-8", 7),
    h5py.vlen_dtype("i4"),
]


@pytest.fixture
def file():
    with h5py.File("types", "w", driver="core", backing_store=False) as file:
        yield file


def equal(ours, theirs):
    assert type(ours) is type(theirs)
    assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None)
    if isinstance(theirs, np.ndarray) and theirs.dtype == object:
        assert ours.shape == theirs.shape
        for one, other in zip(ours.flat, theirs.flat, strict=True):
            np.testing.assert_array_equal(one, other)
    else:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("over", ["base", "nothing"])
def test_a_type_is_edited_as_in_a_dataset(file, dtype, over):
    data = sample(dtype, 11)
    made = [
        file.create_dataset(None, shape=(11,), dtype=dtype, chunks=(4,), maxshape=(None,))
        for _ in range(2)
    ]
    for dataset in made:
        for i in range(11):
            dataset[i] = data[i]
    oracle, base = made
    if over == "base":
        staged = StagedArray(base.shape, base.dtype, base.chunks, base.maxshape, base=base)
    else:
        staged = StagedArray(base.shape, dtype, base.chunks, base.maxshape)
        for i in range(11):
            staged[i] = data[i]
    assert staged.dtype == oracle.dtype
    assert h5py.check_dtype(enum=staged.dtype) == h5py.check_dtype(enum=oracle.dtype)
    for array in (staged, oracle):
        array[1] = data[3]
        array[9] = data[0]
    for array in (staged, oracle):
        array.resize(7, 0)
        array.resize(14, 0)
    for index in ((), 1, 3, 5, 13, slice(0, 9, 2), [0, 1, 8], np.arange(14) % 3 == 0):
        equal(staged[index], oracle[index])
    for array in (staged, oracle):
        array[12] = data[2]
    equal(staged[:], oracle[:])
    copy = file.create_dataset(None, shape=(14,), dtype=dtype, chunks=(5,))
    staged.write_to(copy)
    equal(copy[:], oracle[:])
    chunks = dict(staged.dirty())
    assert set(chunks) == {(0,), (1,), (3,)}
    for (place,), values in chunks.items():
        part = oracle[place * 4 : place * 4 + 4]
        equal(values[: len(part)], part)


def test_references_point_where_they_pointed(file):
    target = file.create_dataset("target", data=np.arange(10))
    base = file.create_dataset(None, shape=(6,), dtype=h5py.ref_dtype, chunks=(2,))
    base[0] = base[5] = target.ref
    staged = StagedArray(base.shape, base.dtype, base.chunks, base=base)
    staged[1] = file["/"].ref
    assert file[staged[0]] == target
    assert file[staged[1]] == file["/"]
    assert not staged[2]
    assert [bool(reference) for reference in staged[:]] == [True, True, False, False, False, True]

    regions = file.create_dataset(None, shape=(4,), dtype=h5py.regionref_dtype, chunks=(2,))
    staged = StagedArray(regions.shape, regions.dtype, regions.chunks, base=regions)
    staged[3] = target.regionref[2:5]
    assert target[staged[:][3]].tolist() == [2, 3, 4]


def test_a_region_reference_to_the_base_reads_and_writes_what_is_staged(file):
    base = file.create_dataset(
        None, data=np.arange(60).reshape(6, 10), chunks=(2, 3), maxshape=(None, None)
    )
    region = base.regionref[1:3, 2:5]
    points = base.regionref[np.arange(60).reshape(6, 10) % 7 == 0]
    staged = StagedArray(base.shape, base.dtype, base.chunks, base.maxshape, base=base)
    staged[1, 3] = -1
    staged.resize((8, 10))
    expected = base[()]
    expected[1, 3] = -1
    np.testing.assert_array_equal(staged[region], expected[1:3, 2:5])
    np.testing.assert_array_equal(staged[points], np.arange(0, 60, 7))
    staged[region] = np.zeros((6,), int)
    expected[1:3, 2:5] = 0
    np.testing.assert_array_equal(staged[:6], expected)
    other = file.create_dataset("other", data=np.arange(3))
    with pytest.raises(ValueError, match="must point to this dataset"):
        staged[other.regionref[:]]


def test_numpy_strings_go_in_and_out(file):
    if not hasattr(np.dtypes, "StringDType") or h5py.version.version_tuple < (3, 14):
        pytest.skip("needs NumPy 2 and h5py 3.14")
    base = file.create_dataset(None, shape=(7,), dtype=h5py.string_dtype(), chunks=(3,))
    base[:] = [f"was {i}" for i in range(7)]
    staged = StagedArray(base.shape, base.dtype, base.chunks, base=base)
    staged[2:4] = np.array(["here", "ünd"], np.dtypes.StringDType())
    assert staged.astype("T")[:].tolist()[1:5] == ["was 1", "here", "ünd", "was 4"]
    assert staged.asstr()[:].tolist()[1:5] == ["was 1", "here", "ünd", "was 4"]
    new = StagedArray((3,), np.dtypes.StringDType(), (2,))
    new[:] = np.array(["a", "b", "c"], np.dtypes.StringDType())
    assert new.asstr()[2] == "c"


def test_fields_are_read_and_written(file):
    data = sample(COMPOUND, 9)
    oracle, base = (file.create_dataset(None, data=data, chunks=(4,)) for _ in range(2))
    staged = StagedArray(base.shape, base.dtype, base.chunks, base=base)
    for array in (staged, oracle):
        array["a", 1:3] = [5, 6]
        array[8, "s"] = b"xyz"
    for read in (
        lambda d: d["a"],
        lambda d: d["a", 2],
        lambda d: d["a", "s", 1:9],
        lambda d: d[1:6, "b"],
        lambda d: d.fields("a")[:5],
        lambda d: d.fields(["s", "a"])[[1, 8]],
        lambda d: d[np.arange(9) % 2 == 0, "a"],
        lambda d: d[:],
    ):
        equal(read(staged), read(oracle))
    for wrong in (lambda d: d["nothing"], lambda d: d.__setitem__("nothing", 3)):
        with pytest.raises(ValueError, match="nothing"):
            wrong(oracle)
        with pytest.raises(ValueError, match="nothing"):
            wrong(staged)


@pytest.mark.parametrize("over", ["base", "nothing"])
def test_nothing_is_written_of_values_that_cannot_all_be_converted(file, over):
    n, size = 150_000, 40_000  # HDF5 converts 65,536 strings at a time
    base = file.create_dataset(None, shape=(n,), dtype=h5py.string_dtype(), chunks=(size,))
    base[::1000] = "was"
    before = base[:]
    below = base if over == "base" else None
    staged = StagedArray(base.shape, base.dtype, base.chunks, base=below)
    if below is None:
        staged[...] = before
    values = np.full(n, "new", object)
    values[-1] = 3
    for array in (base, staged):
        with pytest.raises(TypeError):
            array[...] = values
    equal(base[:], before)
    equal(staged[:], before)
    assert staged.changed == (over == "nothing")


def test_other_types_are_converted_by_hdf5_not_numpy(file):
    base = file.create_dataset(None, data=np.arange(20, dtype="i4") * 100, chunks=(6,))
    staged = StagedArray(base.shape, base.dtype, base.chunks, base=base)
    staged[3:4] = np.array([2**40])
    base_clipped = base.astype("i1")[:]
    base_clipped[3] = 127
    for read in (staged.astype("i1")[:], np.asarray(staged, "i1")):
        np.testing.assert_array_equal(read, base_clipped)
        assert read.dtype == "i1"
    assert staged[3] == 2**31 - 1
