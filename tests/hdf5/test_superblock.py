"""Superblocks as HDF5 writes them."""

from __future__ import annotations

import h5py
import pytest

from tests.support.superblocks import superblock
from vh5d.hdf5.superblock import find_superblock, parse_superblock

VERSIONS = {"earliest": 0, "v108": 2, "v110": 3}


def make(path, libver, **options):
    with h5py.File(path, "w", libver=(libver, "latest"), **options) as file:
        file["x"] = range(1000)
    return path.read_bytes()


@pytest.mark.parametrize("userblock", [0, 512, 2048])
@pytest.mark.parametrize("libver", VERSIONS)
def test_end_of_file_is_the_size_of_a_closed_file(tmp_path, libver, userblock):
    content = make(tmp_path / "a.h5", libver, userblock_size=userblock)
    found = parse_superblock(content)
    assert (found.offset, found.version) == (userblock, VERSIONS[libver])
    assert found.eof == len(content)
    assert found.raw == content[userblock : userblock + len(found.raw)]
    assert found.intact
    assert not found.writing


def test_version_1_is_version_0_with_four_bytes_more(tmp_path):
    # h5py cannot ask for one: it takes H5Pset_istore_k.
    early = make(tmp_path / "a.h5", "earliest")
    later = early[:8] + b"\1" + early[9:24] + b"\x20\0\0\0" + early[24:]
    found = parse_superblock(later)
    assert (found.version, found.eof, found.status_flags) == (1, len(early), None)
    assert len(found.raw) == len(parse_superblock(early).raw) + 4


@pytest.mark.parametrize(("offsets", "width"), [(4, 4), (8, 8)])
def test_narrow_addresses_are_understood(tmp_path, offsets, width):
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plist.set_sizes(offsets, width)
    h5py.h5f.create(str(tmp_path / "a.h5").encode(), fcpl=plist).close()
    content = (tmp_path / "a.h5").read_bytes()
    assert parse_superblock(content).eof == len(content)


def test_file_moved_behind_a_userblock_ends_that_much_later(tmp_path):
    content = bytes(1024) + make(tmp_path / "a.h5", "v110")
    (tmp_path / "b.h5").write_bytes(content)
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["x"][-1] == 999
    assert parse_superblock(content).eof == len(content)


@pytest.mark.parametrize(("swmr", "flags"), [(False, 1), (True, 5)])
def test_flags_tell_of_a_writer(tmp_path, swmr, flags):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", (0,), "i4", maxshape=(None,), chunks=(10,))
        if swmr:
            file.swmr_mode = True
        file.flush()
        found = parse_superblock(path.read_bytes())
    assert found.status_flags == flags
    assert found.writing
    assert found.swmr == swmr
    assert parse_superblock(path.read_bytes()).status_flags == 0


def test_other_flags_change_what_hdf5_does(tmp_path):
    path = tmp_path / "a.h5"
    clean = make(path, "v110")
    marked = parse_superblock(clean).with_status_flags(1)
    path.write_bytes(marked + clean[len(marked) :])
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(path)
    again = parse_superblock(path.read_bytes()).with_status_flags(0)
    assert again == clean[: len(again)]


def test_a_torn_flag_counts_as_set():
    clean, marked = superblock(100), superblock(100, flags=1)
    ends = range(12, len(clean))
    for torn in (
        each[:at] + other[at:] for each, other in ((marked, clean), (clean, marked)) for at in ends
    ):
        found = parse_superblock(torn)
        assert found.intact
        assert found.writing
        assert found.with_status_flags(0) == clean


def test_a_wrong_checksum_is_told():
    block = bytearray(superblock(100))
    block[30] ^= 1
    assert not parse_superblock(bytes(block)).intact


def test_version_2_has_no_flags():
    found = parse_superblock(superblock(100, flags=1, version=2))
    assert found.status_flags is None
    assert found.with_status_flags(1) == found.raw


@pytest.mark.parametrize("length", [0, 1, 8, 11, 40, 47])
def test_what_is_cut_short_is_not_taken_for_whole(length):
    found = parse_superblock(superblock(100)[:length])
    assert found is None or not found.intact


def test_other_files_have_none():
    assert parse_superblock(b"not HDF5" * 300) is None
    assert parse_superblock(b"\x89HDF\r\n\x1a\n\x09" + bytes(100)) is None


def test_a_large_userblock_is_skipped_with_few_reads():
    offset, reads = 1 << 20, []
    block = superblock(0)

    def pread(at, nbytes):
        reads.append(at)
        return block if at == offset else bytes(nbytes)

    assert find_superblock(pread, offset + 48).offset == offset
    assert len(reads) < 15
