"""Random reads, writes, truncations, commits and reopenings against a bytearray."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.stores import listing
from tests.support.superblocks import NBYTES, superblock
from vh5d.hdf5.atomic_file import AtomicFile

LONGEST = 40_000
offsets = st.integers(NBYTES, LONGEST)
lengths = st.integers(0, 15_000)


def resize(content, size):
    content[size:] = bytes(max(0, size - len(content)))


def pattern(seed, nbytes):
    return (seed.to_bytes(1, "little") * nbytes)[:nbytes]


class AtomicFileModel(RuleBasedStateMachine):
    """`staged` is what the file object must show, `committed` what the disk must keep."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "store.h5"
        self.file = AtomicFile.create(self.path)
        self.file.write(superblock(NBYTES))
        self.file.commit()
        self.staged = bytearray(superblock(NBYTES))
        self.committed = bytes(self.staged)

    @rule(at=offsets, nbytes=lengths, seed=st.integers(1, 255))
    def write(self, at, nbytes, seed):
        data = pattern(seed, nbytes)
        self.file.seek(at)
        assert self.file.write(data) == nbytes
        assert self.file.tell() == at + nbytes
        resize(self.staged, max(len(self.staged), at + nbytes))
        self.staged[at : at + nbytes] = data

    @rule(at=offsets, nbytes=lengths, seed=st.integers(1, 255))
    def write_beside_hdf5(self, at, nbytes, seed):
        data = pattern(seed, nbytes)
        if at + nbytes <= self.file.size:
            self.file.pwrite_staged(at, memoryview(data))
            self.staged[at : at + nbytes] = data

    @rule(size=st.integers(NBYTES, LONGEST))
    def truncate(self, size):
        self.file.truncate(size)
        resize(self.staged, size)

    @rule(at=st.integers(0, LONGEST), nbytes=lengths)
    def read(self, at, nbytes):
        expected = bytes(self.staged[at : at + nbytes]).ljust(nbytes, b"\0")
        assert self.file.pread(at, nbytes) == expected
        buffer = bytearray(b"x" * nbytes)
        self.file.seek(at)
        assert self.file.readinto(buffer) == nbytes
        assert buffer == expected

    @rule()
    def commit(self):
        head = superblock(len(self.staged))
        self.file.seek(0)
        self.file.write(head)
        self.staged[:NBYTES] = head
        self.file.commit()
        self.committed = bytes(self.staged)
        assert self.path.read_bytes() == self.committed

    @rule()
    def abort(self):
        self.file.abort()
        self.staged = bytearray(self.committed)

    @rule()
    def reopen(self):
        self.file.close()
        assert self.path.read_bytes() == self.committed
        self.file = AtomicFile.open(self.path)
        assert self.file.recovered is None
        self.staged = bytearray(self.committed)

    @rule(garbage=st.integers(1, 9000))
    @precondition(lambda self: self.file.size == self.file.base)
    def garbage_past_the_end(self, garbage):
        self.reopen()
        self.file.close()
        with self.path.open("ab") as file:
            file.write(b"g" * garbage)
        self.file = AtomicFile.open(self.path)
        assert self.file.recovered == "cut"

    @invariant()
    def what_was_committed_is_on_the_disk(self):
        with self.path.open("rb") as file:
            assert file.read(len(self.committed)) == self.committed

    @invariant()
    def what_was_staged_is_what_is_read(self):
        assert self.file.pread(0, LONGEST) == bytes(self.staged).ljust(LONGEST, b"\0")[:LONGEST]

    @invariant()
    def size_is_known(self):
        assert self.file.seek(0, os.SEEK_END) == self.file.size == len(self.staged)
        assert self.file.base == len(self.committed)

    def teardown(self):
        self.file.close()
        assert listing(self.path) == ["store.h5"]
        self.directory.cleanup()


TestAtomicFile = AtomicFileModel.TestCase
TestAtomicFile.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
