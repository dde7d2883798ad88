"""Changes of a source, for histories that are thinned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray


def noise(seed: int, n: int) -> NDArray[np.uint8]:
    """Return bytes that nothing compresses."""
    return np.random.default_rng(seed).integers(0, 256, n, np.uint8)


def write_noise(seed: int, n: int = 200_000) -> Callable[[h5py.File], None]:
    """Return a change that fills a dataset with noise, and leaves another as it is."""

    def change(file: h5py.File) -> None:
        if "noise" not in file:
            file.create_dataset("noise", n, "u1", chunks=(min(n, 10_000),))
            file["steady"] = np.arange(3000)
        file["noise"][:] = noise(seed, n)

    return change


#: What may happen to a history; "thin" drops versions.
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("grow"), st.integers(1, 4)),
        st.tuples(st.just("table"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from(["a", "b", "words"])),
        st.tuples(st.just("thin"), st.integers(0, 2**32)),
        st.tuples(st.just("compact")),
    ),
    min_size=4,
    max_size=14,
)


def apply(file: h5py.File, operation: tuple[Any, ...]) -> None:
    """Do what an operation says that is neither thinning nor compacting."""
    kind, *arguments = operation
    if kind == "write":
        where, what = arguments
        data = file.require_dataset("a", (8000,), "f8", chunks=(1000,), compression="gzip")
        data[where * 2000 : where * 2000 + 500] = np.arange(500) * what
    elif kind == "grow":
        if "b" not in file:
            file.create_dataset("b", (0, 700), "u2", maxshape=(None, 700), chunks=(4, 700))
        n = len(file["b"])
        file["b"].resize(n + arguments[0], axis=0)
        file["b"][n:] = n
    elif kind == "table":
        for name in ("words", "group/contiguous"):
            if name in file:
                del file[name]
        file["words"] = [f"word {i}" for i in range(arguments[0])]
        file["group/contiguous"] = noise(arguments[0], 9000)
    elif kind == "delete" and arguments[0] in file:
        del file[arguments[0]]
