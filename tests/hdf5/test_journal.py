"""A journal is whole or it is nothing."""

from __future__ import annotations

import os

import pytest

from vh5d.hdf5.disk import Disk
from vh5d.hdf5.journal import PAGE, Journal


@pytest.fixture
def journal():
    pages = {0: bytearray(b"a" * PAGE), 7: bytearray(b"b" * PAGE), 9: bytearray(b"c" * 100)}
    return Journal(9 * PAGE + 100, 5 * PAGE, 50_000, 0, 48, bytes(32), b"n" * 32, pages)


def written(journal, path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        journal.write(Disk(), fd)
    finally:
        os.close(fd)
    return path.read_bytes()


def test_it_comes_back(journal, tmp_path):
    assert Journal.decode(written(journal, tmp_path / "j")) == journal


def test_cut_anywhere_it_is_dropped(journal, tmp_path):
    data = written(journal, tmp_path / "j")
    for length in [*range(300), *range(300, len(data), 101), len(data) - 1]:
        assert Journal.decode(data[:length]) is None


def test_changed_anywhere_it_is_dropped(journal, tmp_path):
    data = bytearray(written(journal, tmp_path / "j"))
    for at in [*range(200), *range(200, len(data), 97), len(data) - 1]:
        data[at] ^= 0x40
        assert Journal.decode(bytes(data)) is None
        data[at] ^= 0x40


def test_applying_it_twice_is_applying_it_once(journal, tmp_path):
    path = tmp_path / "store"
    path.write_bytes(b"x" * (9 * PAGE + 100))
    fd = os.open(path, os.O_RDWR)
    journal.apply(Disk(), fd)
    once = path.read_bytes()
    journal.apply(Disk(), fd)
    os.close(fd)
    assert path.read_bytes() == once
    assert once[5 * PAGE : 7 * PAGE] == bytes(2 * PAGE)
    assert once[4 * PAGE : 5 * PAGE] == b"x" * PAGE
    assert once[9 * PAGE :] == (b"c" * 100).ljust(50_000 - 9 * PAGE, b"\0")
