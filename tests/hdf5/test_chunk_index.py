"""Chunk indexes in memory: built, read, looked up, compared; HDF5 is asked in other modules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chunk_index import walk
from tests.support.index_history import History, dict_of, records_of
from vh5d.errors import StoreDamagedError
from vh5d.hdf5.block_image import UNDEFINED, BlockImage
from vh5d.hdf5.chunk_index import ChunkRecords, IndexFormat, build, changes, lookup, read_records
from vh5d.hdf5.index_build import group_sizes


def line(n: int, start: int = 0) -> dict:
    return {(i,): (1000 + i, 8, 0) for i in range(start, start + n)}


def unfiltered(node_size: int = 160, ndim: int = 1) -> IndexFormat:
    return IndexFormat(ndim, 8, False, node_size)


@given(st.integers(2, 2000), st.integers(3, 40), st.booleans())
def test_groups_are_few_and_neither_empty_nor_alone(slots, most, left_full):
    sizes = group_sizes(slots, most, left_full=left_full)
    assert sizes.sum() == slots
    assert len(sizes) == -(-slots // most)
    assert sizes.min() >= 2
    assert sizes.max() <= most
    if left_full:
        assert (sizes[:-2] == most).all()
    else:
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("node_size", [100, 160, 512])
def test_every_number_of_chunks(node_size):
    # Through every way that a level can end: an empty last leaf, a lone last child.
    for n in [*range(130), 1000, 4097]:
        history = History(unfiltered(node_size))
        history.build(line(n))
        assert dict_of(read_records(history.read, history.root, history.fmt)) == history.chunks


@pytest.mark.parametrize("ndim", [1, 2, 3, 5, 32])
@pytest.mark.parametrize("filtered", [False, True])
def test_every_rank_with_holes(ndim, filtered):
    rng = np.random.default_rng(ndim)
    fmt = IndexFormat.for_chunks(ndim, 1000, filtered=filtered, n=700)
    places = {tuple(map(int, place)) for place in rng.integers(0, 20, (700, ndim))}
    mask = 5 if filtered else 0
    history = History(fmt)
    history.build({p: (i, 999 if filtered else 1000, mask) for i, p in enumerate(places)})
    assert dict_of(read_records(history.read, history.root, fmt)) == history.chunks


def test_no_chunks_no_index():
    image = BlockImage()
    assert build(ChunkRecords.empty(3), unfiltered(ndim=3), image) == UNDEFINED
    assert len(image) == 0
    fmt = unfiltered()
    assert len(read_records(image.read, UNDEFINED, fmt)) == 0
    found, mask = lookup(image.read, UNDEFINED, fmt, np.array([[3]], np.uint64))
    assert (len(found), mask.tolist()) == (0, [False])


def test_records_out_of_order_are_refused():
    records = records_of(line(3), 1)
    reversed_ = ChunkRecords(records.scaled[::-1], *[records.addresses] * 2, records.masks)
    with pytest.raises(ValueError, match="row-major order"):
        build(reversed_, unfiltered(), BlockImage())
    with pytest.raises(ValueError, match="rank 2"):
        build(records, unfiltered(ndim=2), BlockImage())


def test_a_million_chunks():
    n = 1_000_000
    places = np.stack(np.divmod(np.arange(n, dtype=np.uint64), 1000), axis=-1)
    addresses = np.arange(n, dtype=np.uint64) * 8
    records = ChunkRecords(places, addresses, np.full(n, 8, np.uint64), np.zeros(n, np.uint32))
    fmt = IndexFormat.for_chunks(2, 8, filtered=False, n=n)
    image = BlockImage()
    root = BlockImage.resolve(build(records, fmt, image), 64)
    data = bytes(64) + image.render(64)

    def read(address, nbytes):
        return data[address : address + nbytes]

    back = read_records(read, root, fmt)
    assert np.array_equal(back.scaled, places)
    assert np.array_equal(back.addresses, addresses)
    wanted = np.array([[999, 999], [0, 0], [1000, 0], [123, 456]], np.uint64)
    found, mask = lookup(read, root, fmt, wanted)
    assert mask.tolist() == [True, True, False, True]
    assert found.addresses.tolist() == [8 * 999_999, 0, 8 * 123_456]


@given(st.sets(st.integers(0, 400)), st.lists(st.integers(0, 410), max_size=50))
def test_lookup_in_any_order(present, wanted):
    history = History(unfiltered())
    history.build({(i,): (i, 8, 0) for i in present})
    found, mask = lookup(
        history.read, history.root, history.fmt, np.array(wanted, np.uint64).reshape(-1, 1)
    )
    assert mask.tolist() == [i in present for i in wanted]
    assert found.addresses.tolist() == [i for i in wanted if i in present]


def test_an_index_that_is_still_staged_can_be_read():
    image = BlockImage()
    root = build(records_of(line(100), 1), unfiltered(), image)
    assert dict_of(read_records(image.read, root, unfiltered())) == line(100)


@given(
    st.dictionaries(st.integers(0, 300), st.integers(0, 3)),
    st.dictionaries(st.integers(0, 300), st.integers(0, 3)),
    st.sampled_from([100, 160, 512]),
)
def test_changes_between_trees_that_share_nothing(a, b, node_size):
    old, new = ({(k,): (v, 8, 0) for k, v in each.items()} for each in (a, b))
    history, other = History(unfiltered(160)), History(unfiltered(node_size))
    history.build(old)
    other.data = history.data
    other.build(new)
    removed, added = changes(other.read, history.root, history.fmt, other.root, other.fmt)
    assert dict_of(removed) == {k: v for k, v in old.items() if k not in new}
    assert dict_of(added) == {k: v for k, v in new.items() if old.get(k) != v}


def test_changes_need_one_rank():
    with pytest.raises(ValueError, match="nothing in common"):
        changes(bytes, UNDEFINED, unfiltered(), UNDEFINED, unfiltered(ndim=2))


def damaged_history() -> History:
    history = History(unfiltered())
    history.build(line(200))
    return history


def test_any_flipped_byte_in_a_node_is_noticed():
    history = damaged_history()
    tree = walk(history.read, history.root, 1, 8)
    used = 6 + 16 + 4  # prefix, one record and checksum: the least that a node has
    for address in (*sorted(tree.nodes), history.root):
        for offset in (0, 5, used // 2, used - 1):
            history.data[address + offset] ^= 0x10
            with pytest.raises(StoreDamagedError):
                read_records(history.read, history.root, history.fmt)
            history.data[address + offset] ^= 0x10
    assert len(read_records(history.read, history.root, history.fmt)) == 200


def test_a_file_that_ends_early_is_noticed():
    history = damaged_history()
    del history.data[-60:]
    with pytest.raises(StoreDamagedError, match="the file ends"):
        read_records(history.read, history.root, history.fmt)


def test_an_index_of_another_format_is_noticed():
    history = damaged_history()
    for other in (unfiltered(512), unfiltered(ndim=2), IndexFormat(1, 8, True, 160)):
        with pytest.raises(StoreDamagedError, match="another format"):
            read_records(history.read, history.root, other)
    with pytest.raises(StoreDamagedError, match="no chunk index"):
        read_records(history.read, 0, unfiltered())
