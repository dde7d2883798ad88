"""Element types of files of the latest format, made readable for older versions of HDF5."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from h5py import h5t
from hypothesis import given
from hypothesis import strategies as st

from vh5d.hdf5.type_version import portable

LEAVES = st.sampled_from(
    [
        np.dtype("<i4"),
        np.dtype(">f8"),
        np.dtype("f2"),
        np.dtype("u1"),
        np.dtype("S3"),
        np.dtype("S300"),
        np.dtype("V5"),
        np.dtype(bool),
        h5py.string_dtype(),
        h5py.string_dtype("ascii", 4),
        h5py.ref_dtype,
        h5py.regionref_dtype,
        h5py.enum_dtype({"one": 1, "minus": -2}, basetype=">i2"),
        h5py.opaque_dtype(np.dtype("M8[us]")),
    ]
)


def _compound(parts):
    return np.dtype([(f"field {'x' * i}", part) for i, part in enumerate(parts)])


TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(_compound),
        st.tuples(inner, st.lists(st.integers(1, 3), min_size=1, max_size=2)).map(
            lambda pair: np.dtype([("array", pair[0], tuple(pair[1]))])
        ),
        inner.filter(lambda dtype: dtype.kind != "O").map(h5py.vlen_dtype),
    ),
    max_leaves=6,
)


def stored_types(dtype):
    """The type as a file of the latest format holds it, and as one of HDF5 1.10 does."""
    found = []
    for libver in ("latest", ("v110", "v110")):
        with h5py.File("types", "w", driver="core", backing_store=False, libver=libver) as file:
            dataset = file.create_dataset("x", (1,), dtype, chunks=(1,))
            found.append(h5t.decode(dataset.id.get_type().encode()))
    return found


@given(TYPES)
def test_the_type_that_hdf5_1_10_would_write(dtype):
    latest, older = stored_types(dtype)
    lowered = portable(latest)
    assert lowered.equal(latest)
    assert lowered.encode() == older.encode() or lowered.encode()[2] >> 4 == 3
    again = h5t.decode(lowered.encode())
    assert again.equal(latest)
    with h5py.File("out", "w", driver="core", backing_store=False, libver=("v110",) * 2) as file:
        assert file.create_dataset("x", (1,), lowered, chunks=(1,)).dtype == latest.dtype


@pytest.mark.parametrize("dtype", ["<i4", "S3", [("a", "<i4")]])
def test_types_that_need_nothing_are_the_same(dtype):
    _, older = stored_types(np.dtype(dtype))
    assert portable(older).encode() == older.encode()


def test_a_committed_type_becomes_transient():
    with h5py.File("types", "w", driver="core", backing_store=False, libver="latest") as file:
        file["t"] = np.dtype([("a", "<i4")])
        assert file["t"].id.committed()
        lowered = portable(file["t"].id)
    assert not lowered.committed()
    assert lowered.encode()[2] >> 4 == 3
