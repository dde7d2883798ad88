"""New versions of chunk indexes: right, and sharing what did not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.index_history import History, dict_of, records_of
from vh5d.errors import StoreDamagedError
from vh5d.hdf5.block_image import STAGED, UNDEFINED, BlockImage
from vh5d.hdf5.chunk_index import ChunkRecords, IndexFormat, build, changes, read_records, update

NOWHERE = np.empty((0, 1), np.uint64)


def line(n: int, start: int = 0, address: int = 1000) -> dict:
    return {(i,): (address + i, 8, 0) for i in range(start, start + n)}


def line_history(n: int, node_size: int = 160) -> History:
    history = History(IndexFormat(1, 8, False, node_size))
    history.build(line(n))
    return history


class Updates(RuleBasedStateMachine):
    """Random versions of one index, in small nodes so that trees are deep, against a dict."""

    @initialize(
        ndim=st.integers(1, 3), filtered=st.booleans(), wide=st.integers(0, 3), data=st.data()
    )
    def begin(self, ndim, filtered, wide, data):
        self.ndim, self.filtered = ndim, filtered
        self.side = (400, 20, 8)[ndim - 1]
        self.history = History(
            IndexFormat(ndim, 300, filtered, (100, 160, 300, 512)[wide] + 30 * ndim)
        )
        self.history.build(data.draw(self.chunks(600)))

    def places(self, most):
        return st.lists(st.tuples(*[st.integers(0, self.side - 1)] * self.ndim), max_size=most)

    def chunks(self, most):
        """Chunks here and there: many of them without many draws."""
        value = st.integers(0, 2**40)
        return st.builds(
            lambda seed, n, first: {
                tuple(map(int, place)): self.value(first + i)
                for i, place in enumerate(
                    np.random.default_rng(seed).integers(0, self.side, (n, self.ndim))
                )
            },
            st.integers(0, 999),
            st.integers(0, most),
            value,
        )

    def value(self, i):
        return (i, i % 500, i % 3) if self.filtered else (i, 300, 0)

    def commit(self, puts, removes=()):
        old = self.history.root, self.history.fmt, dict(self.history.chunks)
        self.history.update(puts, list(removes))
        new = self.history
        removed, added = changes(new.read, old[0], old[1], new.root, new.fmt)
        assert dict_of(removed) == {k: v for k, v in old[2].items() if k not in new.chunks}
        assert dict_of(added) == {k: v for k, v in new.chunks.items() if old[2].get(k) != v}

    @rule(data=st.data(), most=st.sampled_from([3, 50, 400]))
    def put(self, data, most):
        self.commit(data.draw(self.chunks(most)))

    @rule(data=st.data())
    def append(self, data):
        last = max(self.history.chunks, default=(0,) * self.ndim)[0]
        self.commit({(k[0] + last + 1, *k[1:]): v for k, v in data.draw(self.chunks(200)).items()})

    @rule(data=st.data())
    def remove_some(self, data):
        self.commit({}, data.draw(self.places(20)))

    @precondition(lambda self: self.history.chunks)
    @rule(begin=st.integers(0, 10_000), n=st.integers(1, 10_000))
    def remove_a_run(self, begin, n):
        present = sorted(self.history.chunks)
        begin %= len(present)
        self.commit({}, present[begin : begin + 1 + n % len(present)])

    @precondition(lambda self: self.history.chunks)
    @rule(seed=st.integers(0, 999), kept=st.integers(0, 3))
    def remove_nearly_all(self, seed, kept):
        present = sorted(self.history.chunks)
        order = np.random.default_rng(seed).permutation(len(present))
        self.commit({}, [present[i] for i in order[kept:]])

    @rule(data=st.data())
    def put_and_remove(self, data):
        self.commit(data.draw(self.chunks(30)), data.draw(self.places(30)))

    @precondition(lambda self: self.history.chunks)
    @rule(n=st.integers(1, 100))
    def put_what_is_there(self, n):
        present = dict(list(self.history.chunks.items())[:n])
        root, size = self.history.root, len(self.history.data)
        self.commit(present, [(10**6,) * self.ndim])
        assert self.history.root == root or self.history.fmt.node_size == 2048
        assert len(self.history.data) == size or self.history.fmt.node_size == 2048

    @invariant()
    def is_a_right_tree(self):
        if hasattr(self, "history"):
            self.history.tree()


Updates.TestCase.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
TestUpdates = Updates.TestCase


def path_length(history: History) -> int:
    return history.tree().height + 1


@pytest.mark.parametrize("n", [1, 9, 500, 3000])
@pytest.mark.parametrize("k", [1, 3])
def test_changed_chunks_cost_a_path_each(n, k):
    history = line_history(n)
    before = history.tree()
    places = sorted({i * n // k for i in range(k)})
    after = history.update({(i,): (7, 8, 0) for i in places})
    assert len(after.leaves - before.leaves) <= len(places)
    assert len(after.nodes - before.nodes) <= len(places) * path_length(history)
    assert len(after.nodes) == len(before.nodes)
    assert history.written == len(after.nodes - before.nodes) * history.fmt.node_size + 38


def test_one_chunk_of_64_000():
    history = History(IndexFormat.for_chunks(1, 8, filtered=False, n=64_000))
    before = history.build(line(64_000))
    after = history.update({(12_345,): (1, 8, 0)})
    assert len(after.nodes - before.nodes) == 3
    assert history.written < 6500


def test_one_chunk_of_a_million():
    n = 1_000_000
    numbers = np.arange(n, dtype=np.uint64)
    fmt = IndexFormat.for_chunks(1, 8, filtered=False, n=n)
    same = np.full(n, 8, np.uint64), np.zeros(n, np.uint32)
    image = BlockImage()
    root = build(ChunkRecords(numbers[:, np.newaxis], numbers, *same), fmt, image)
    data = image.render(0)

    def read(address, nbytes):
        return bytes(data[address : address + nbytes])

    image = BlockImage()
    base = len(data)
    old = BlockImage.resolve(root, 0)
    new, _ = update(read, old, fmt, records_of({(500_000,): (1, 8, 0)}, 1), NOWHERE, image)
    data += image.render(base)
    new = BlockImage.resolve(new, base)
    assert len(image) <= 4 * fmt.node_size + 38
    removed, changed = changes(read, old, fmt, new, fmt)
    assert (len(removed), dict_of(changed)) == (0, {(500_000,): (1, 8, 0)})
    numbers[500_000] = 1
    assert np.array_equal(read_records(read, new, fmt).addresses, numbers)


@pytest.mark.parametrize("n", [1, 8, 9, 10, 100, 1234])
def test_appending_touches_the_right_edge(n):
    history = line_history(n)
    for step in range(40):
        before = history.tree()
        more = 1 + step % 3
        after = history.update(line(more, start=n))
        n += more
        gone = before.nodes - after.nodes
        assert len(gone) <= before.height + 1, "one node a level is replaced"
        assert len(after.nodes - before.nodes) <= 2 * (after.height + 1)


def test_a_tree_that_was_appended_to_is_nearly_as_full_as_one_built_at_once():
    history = line_history(0)
    for i in range(0, 2000, 7):
        grown = history.update(line(7, start=i))
    built = line_history(len(history.chunks)).tree()
    # Now and then a leaf is left one short, so that the next has a record at all.
    assert len(grown.leaves) <= 1.05 * len(built.leaves)


def test_a_hole_filled_splits_one_leaf():
    history = History(IndexFormat(1, 8, False, 160))
    before = history.build({(2 * i,): (i, 8, 0) for i in range(1000)})
    after = history.update({(1001,): (1, 8, 0)})
    assert len(before.nodes - after.nodes) == path_length(history)
    assert len(after.leaves - before.leaves) == 2


def test_a_chunk_removed_touches_its_neighbourhood():
    for victim in range(0, 1000, 13):
        history = line_history(1000)
        before = history.tree()
        after = history.update({}, [(victim,)])
        assert len(after.nodes - before.nodes) <= 2 * path_length(history)


def test_shrinking_leaves_the_rest_alone():
    history = line_history(3000)
    before = history.tree()
    after = history.update({}, [(i,) for i in range(2000, 3000)])
    assert len(after.nodes - before.nodes) <= 2 * path_length(history)


def test_everything_removed():
    for n in (1, 9, 10, 500):
        history = line_history(n)
        history.update({}, [(i,) for i in range(n)])
        assert history.root == UNDEFINED
        history.update(line(5))


def test_only_separators_left():
    history = line_history(100)
    inner = {(9 * i + 8,) for i in range(11)}  # what lies between leaves of 8 records
    tree = history.update({}, [(i,) for i in range(100) if (i,) not in inner])
    assert len(tree.records) == 11


def test_many_versions_share_and_stay():
    history = line_history(2000)
    rng = np.random.default_rng(5)
    versions = []
    for _ in range(30):
        versions.append((history.root, dict(history.chunks)))
        history.update({(int(i),): (int(i) * 3, 8, 0) for i in rng.integers(0, 2100, 4)})
    for root, chunks in versions:
        assert dict_of(read_records(history.read, root, history.fmt)) == chunks


def test_an_index_staged_in_the_same_image():
    history = line_history(300)
    image = BlockImage()
    read, fmt = history.reader_of(image), history.fmt
    staged, _ = update(read, history.root, fmt, records_of({(5,): (1, 8, 0)}, 1), NOWHERE, image)
    assert staged >= STAGED
    again, _ = update(read, staged, fmt, records_of(line(50, start=300), 1), NOWHERE, image)
    want = {**line(350), (5,): (1, 8, 0)}
    assert dict_of(read_records(read, again, fmt)) == want
    removed, added = changes(read, history.root, fmt, again, fmt)
    assert (len(removed), len(added)) == (0, 51)
    base = len(history.data)
    history.data += image.render(base)
    history.root, history.chunks = BlockImage.resolve(again, base), want
    history.tree()


def test_shared_nodes_are_not_even_read():
    history = line_history(3000)
    old, read = history.root, []

    def listen(address, nbytes):
        read.append(nbytes)
        return history.read(address, nbytes)

    update(listen, old, history.fmt, records_of({(7,): (1, 8, 0)}, 1), NOWHERE, BlockImage())
    path = 38 + path_length(history) * history.fmt.node_size
    assert sum(read) == path, "an update reads what it writes anew"
    history.update({(7,): (1, 8, 0)})
    read.clear()
    changes(listen, old, history.fmt, history.root, history.fmt)
    assert sum(read) == 2 * path, "changes are found along the two paths"


def test_a_tree_that_outgrows_small_nodes_gets_large_ones():
    history = History(IndexFormat.for_chunks(1, 8, filtered=False, n=0))
    most = history.fmt.level(2).subtree
    history.update(line(most))
    assert history.fmt.node_size == 512
    old = history.root, history.fmt
    history.update(line(1, start=most))
    assert history.fmt.node_size == 2048
    removed, added = changes(history.read, *old, history.root, history.fmt)
    assert (len(removed), dict_of(added)) == (0, line(1, start=most))
    history.update({}, [(i,) for i in range(most)])
    assert history.fmt.node_size == 2048, "it does not go back: nodes would be shared no more"


def test_what_is_put_is_not_removed():
    history = line_history(10)
    history.update({(3,): (5, 8, 0)}, [])
    image = BlockImage()
    puts = records_of({(3,): (6, 8, 0), (4,): (7, 8, 0)}, 1)
    removes = np.array([[4], [5], [99]], np.uint64)
    root, _ = update(history.read, history.root, history.fmt, puts, removes, image)
    records = dict_of(read_records(history.reader_of(image), root, history.fmt))
    assert records[3,] == (6, 8, 0)
    assert records[4,] == (7, 8, 0)
    assert set(records) == set(line(10)) - {(5,)}


def test_damage_is_not_passed_on():
    history = line_history(1000)
    for address in history.tree().leaves:
        history.data[address + 20] ^= 1
    image = BlockImage()
    with pytest.raises(StoreDamagedError, match="damaged"):
        update(history.read, history.root, history.fmt, records_of(line(1, 500), 1), NOWHERE, image)


def test_puts_out_of_order_are_refused():
    history = line_history(10)
    twice = ChunkRecords(
        np.zeros((2, 1), np.uint64), *[np.zeros(2, np.uint64)] * 2, np.zeros(2, np.uint32)
    )
    with pytest.raises(ValueError, match="row-major order"):
        update(history.read, history.root, history.fmt, twice, NOWHERE, BlockImage())
