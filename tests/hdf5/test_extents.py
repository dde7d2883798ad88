"""Where chunks lie, whatever index HDF5 keeps of them."""

from __future__ import annotations

from itertools import product

import h5py
import numpy as np
import pytest

from vh5d.hdf5.dataset_info import allocated_blocks, open_dataset
from vh5d.hdf5.extents import chunk_extents


@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "maxshape",
    [
        (40, 50, 6),
        *(tuple(None if u else n for u, n in zip(which, (100, 70, 8), strict=True))
          for which in product((False, True), repeat=3)),
        (40, None, 6),
        (10, None, 2),
    ],
)  # fmt: skip
def test_every_chunk_is_where_it_says(tmp_path, libver, filters, sparse, maxshape):
    with h5py.File(tmp_path / "f.h5", "w", libver=libver) as file:
        shape = tuple(min(n, m or n) for n, m in zip((40, 50, 6), maxshape, strict=True))
        data = np.random.default_rng(0).integers(0, 2**40, shape)
        chunks = (10, 10, 2)
        dataset = file.create_dataset(
            "x", shape, data.dtype, chunks=chunks, maxshape=maxshape, **filters
        )
        steps = [range(0, n, c) for n, c in zip(shape, chunks, strict=True)]
        grid = [
            tuple(slice(at, at + c) for at, c in zip(start, chunks, strict=True))
            for start in product(*steps)
        ]
        kept = grid[1::7] if sparse else grid
        for region in kept:
            dataset[region] = data[region]
        file.flush()
        extents = chunk_extents(dataset.id)
        starts = sorted(tuple(part.start for part in region) for region in kept)
        assert (extents.scaled * np.array(chunks, "u8")).tolist() == [list(s) for s in starts]
        raw = (tmp_path / "f.h5").read_bytes()
        for scaled, offset, nbytes in zip(extents.scaled.tolist(), extents.offsets.tolist(),
                                          extents.nbytes.tolist(), strict=True):  # fmt: skip
            at = tuple(a * c for a, c in zip(scaled, chunks, strict=True))
            assert raw[offset : offset + nbytes] == dataset.id.read_direct_chunk(at)[1]


def test_blocks_of_variable_length_data_are_where_they_say(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w", libver="v110") as file:
        dataset = file.create_dataset(
            "x", (30, 50), h5py.string_dtype(), chunks=(10, 10), maxshape=(100, None)
        )
        dataset[20:30, 10:20] = "x"
        assert [at for at, _ in allocated_blocks(open_dataset(dataset.id))] == [(20, 10)]
