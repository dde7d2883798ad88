"""Blocks laid out before their place in the file is known."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.support.lookup3 import hashlittle
from vh5d.hdf5.block_image import STAGED, UNDEFINED, BlockImage


def _sum(data: bytes) -> bytes:
    return struct.pack("<I", hashlittle(bytes(data)))


def test_blocks_follow_one_another_padded():
    image = BlockImage()
    first = image.add(b"abcd" + bytes(4), size=16)
    second = image.add(b"efg" + bytes(4))
    assert (first, second, len(image)) == (STAGED, STAGED + 16, 23)
    data = image.render(1000)
    assert data[:16] == b"abcd" + _sum(b"abcd") + bytes(8)
    assert data[16:] == b"efg" + _sum(b"efg")


def test_checksums_are_of_pointers_made_real():
    image = BlockImage()
    leaf = image.add(bytes(8))
    image.add(b"x" + struct.pack("<QQQ", leaf, UNDEFINED, 77) + bytes(4), pointers=(1, 9, 17))
    body = b"x" + struct.pack("<QQQ", 5000, UNDEFINED, 77)
    assert image.render(5000)[8:] == body + _sum(body)


def test_rows_are_blocks():
    rows = np.arange(60, dtype=np.uint8).reshape(5, 12)
    one, other = BlockImage(), BlockImage()
    other.add(b"odd one" + bytes(4))
    addresses = other.add_rows(rows, size=20)
    for row in rows:
        one.add(row.tobytes(), size=20)
    assert addresses.tolist() == [STAGED + 11 + 20 * i for i in range(5)]
    assert other.render(0)[11:] == one.render(0)


def test_pointers_of_rows():
    image = BlockImage()
    target = image.add(bytes(4))
    rows = np.zeros((30, 14), np.uint8)
    rows[:, 2:10] = np.frombuffer(struct.pack("<Q", target), np.uint8)
    image.add_rows(rows, size=16, pointers=(2,))
    data = image.render(300)
    assert {bytes(data[i + 2 : i + 10]) for i in range(4, len(data), 16)} == {
        struct.pack("<Q", 300)
    }


def test_rendered_twice_at_different_places():
    image = BlockImage()
    image.add(struct.pack("<Q", STAGED) + bytes(4), pointers=(0,))
    assert image.render(8)[:8] == struct.pack("<Q", 8)
    assert image.render(9)[:8] == struct.pack("<Q", 9)


def test_staged_bytes_can_be_read_again():
    image = BlockImage()
    image.add(bytes(10))
    address = image.add(b"hello" + bytes(4))
    assert image.read(address, 5) == b"hello"
    for wrong in (address + 5, STAGED - 1, 12):
        with pytest.raises(ValueError, match="not in the image"):
            image.read(wrong, 5)


def test_nothing_is_rendered_as_nothing():
    assert BlockImage().render(7) == b""
    assert len(BlockImage().add_rows(np.empty((0, 8), np.uint8), size=8)) == 0


def test_resolve_changes_staged_addresses_only():
    assert BlockImage.resolve(STAGED + 3, 100) == 103
    assert BlockImage.resolve(3, 100) == 3
    assert BlockImage.resolve(UNDEFINED, 100) == UNDEFINED


@pytest.mark.parametrize(("length", "size"), [(3, 8), (9, 8)])
def test_a_block_must_fit(length, size):
    with pytest.raises(ValueError, match="does not fit"):
        BlockImage().add(bytes(length), size=size)
