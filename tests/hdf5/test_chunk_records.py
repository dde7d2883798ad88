"""Chunk records, and how they stand in an index's nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.index_history import dict_of, records_of
from vh5d.hdf5.chunk_records import ChunkRecords, grid_keys, is_ascending
from vh5d.hdf5.index_format import LARGE_NODE, SMALL_NODE, IndexFormat

WHOLE = st.integers(0, 2**64 - 1)
PLACES = st.integers(1, 4).flatmap(
    lambda ndim: st.lists(
        st.tuples(*[st.sampled_from([0, 1, 255, 256, 2**64 - 1])] * ndim), min_size=1
    )
)


@given(PLACES)
def test_keys_sort_as_places_do(places):
    keys = grid_keys(np.array(places, np.uint64))
    assert [places[i] for i in np.argsort(keys, kind="stable")] == sorted(places)
    assert is_ascending(np.array(places, np.uint64)) == (places == sorted(set(places)))


@given(PLACES)
def test_any_order_is_put_in_order(places):
    places = list(dict.fromkeys(places))
    n = np.arange(len(places))
    records = ChunkRecords.from_unsorted(np.array(places, np.uint64), n, n + 1, n + 2)
    assert list(dict_of(records)) == sorted(places)
    assert dict_of(records) == {p: (i, i + 1, i + 2) for i, p in enumerate(places)}


@given(
    st.dictionaries(
        st.tuples(WHOLE, WHOLE),
        st.tuples(WHOLE, st.integers(0, 2**24 - 1), st.integers(0, 2**32 - 1)),
    )
)
def test_filtered_records_survive_encoding(chunks):
    fmt = IndexFormat(2, 65_535, True, LARGE_NODE)
    raw = fmt.encode(records_of(chunks, 2))
    assert raw.shape == (len(chunks), 8 + 3 + 4 + 16)
    assert dict_of(fmt.decode(raw)) == chunks


def test_records_without_filters_have_the_chunks_size():
    fmt = IndexFormat(1, 100, False, LARGE_NODE)
    chunks = {(3,): (1000, 55, 7)}
    assert dict_of(fmt.decode(fmt.encode(records_of(chunks, 1)))) == {(3,): (1000, 100, 0)}


@pytest.mark.parametrize(
    ("nbytes", "width"),
    [(1, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 4), (2**32 - 1, 5), (2**63, 8)],
)
def test_width_of_a_stored_size(nbytes, width):
    assert IndexFormat(1, nbytes, True, LARGE_NODE).size_width == width
    assert IndexFormat(1, nbytes, False, LARGE_NODE).size_width == 0


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="size needs more than 2 bytes"):
        IndexFormat(1, 10, True, SMALL_NODE).encode(records_of({(0,): (1, 65_536, 0)}, 1))


def test_small_indexes_have_small_nodes():
    small = IndexFormat.for_chunks(2, 100, filtered=False, n=0)
    most = small.level(2).subtree
    assert small.node_size == SMALL_NODE
    assert IndexFormat.for_chunks(2, 100, filtered=False, n=most) == small
    assert small.grown(most) == small
    large = IndexFormat.for_chunks(2, 100, filtered=False, n=most + 1)
    assert large.node_size == LARGE_NODE
    assert small.grown(most + 1) == large.grown(0) == large


def test_high_ranks_need_large_nodes():
    assert IndexFormat.for_chunks(32, 1, filtered=True, n=0).node_size == LARGE_NODE
    with pytest.raises(ValueError, match="too small for rank 32"):
        IndexFormat(32, 1, True, SMALL_NODE)


@pytest.mark.parametrize(("ndim", "nbytes"), [(0, 1), (33, 1), (1, 0)])
def test_impossible_formats(ndim, nbytes):
    with pytest.raises(ValueError, match=r"rank|at least one byte"):
        IndexFormat(ndim, nbytes, False, LARGE_NODE)
