"""The simulated disk is as bad as a disk may be, and no worse."""

from __future__ import annotations

import errno
import os

import pytest

from vh5d.hdf5.disk import write_fully
from vh5d.testing.faults import KILLED, Fault, SimulatedDisk, crash_state, every_fault

NEW = os.O_RDWR | os.O_CREAT


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "old").write_bytes(b"a" * 10_000)
    return tmp_path


def left(disk, choices=range(200), operation=None):
    """What a power cut may leave: contents by name, each possibility once."""
    at = len(disk.calls) if operation is None else operation
    found = []
    for choice in choices:
        state = crash_state(disk.start, disk.calls, seed=7, operation=at, choice=choice)
        files = {name: state.medium.contents[n] for name, n in state.medium.names.items()}
        if files not in found:
            found.append(files)
    return found


def test_nothing_done_nothing_lost(directory):
    assert left(SimulatedDisk(directory)) == [{"old": b"a" * 10_000}]


def test_what_is_written_may_be_lost_by_sectors_until_it_is_synced(directory):
    disk = SimulatedDisk(directory)
    fd = disk.open(directory / "old", os.O_RDWR)
    disk.pwrite(fd, memoryview(b"b" * 6000), 1000)
    found = [each["old"] for each in left(disk)]
    assert {b"a" * 10_000, b"a" * 1000 + b"b" * 6000 + b"a" * 3000} < set(found)
    torn = {i for content in found for i in range(1, 10_000) if content[i] != content[i - 1]}
    assert torn >= {1024, 1536, 4096}
    assert all(i % 512 == 0 for i in torn - {1000, 7000})
    disk.fdatasync(fd)
    assert [each["old"][1000:7000] for each in left(disk)] == [b"b" * 6000]
    disk.close(fd)


def test_writes_may_arrive_in_any_order(directory):
    disk = SimulatedDisk(directory)
    fd = disk.open(directory / "old", os.O_RDWR)
    disk.pwrite(fd, memoryview(b"b"), 0)
    disk.pwrite(fd, memoryview(b"c"), 0)
    assert {each["old"][:1] for each in left(disk)} == {b"a", b"b", b"c"}
    disk.pwrite(fd, memoryview(b"d"), 9000)
    found = {(each["old"][:1], each["old"][9000:9001]) for each in left(disk)}
    assert {(b"a", b"d"), (b"c", b"a"), (b"c", b"d")} <= found
    disk.close(fd)


def test_a_size_is_one_more_thing_that_may_be_lost(directory):
    disk = SimulatedDisk(directory)
    fd = disk.open(directory / "old", os.O_RDWR)
    disk.ftruncate(fd, 5)
    assert {len(each["old"]) for each in left(disk)} == {5, 10_000}
    disk.close(fd)


def test_a_sync_of_a_file_saves_neither_its_name_nor_another_file(directory):
    disk = SimulatedDisk(directory)
    fd = disk.open(directory / "new", NEW)
    other = disk.open(directory / "old", os.O_RDWR)
    disk.pwrite(fd, memoryview(b"new"), 0)
    disk.pwrite(other, memoryview(b"b"), 0)
    disk.fsync(fd)
    found = left(disk)
    assert {each.get("new") for each in found} == {None, b"new"}
    assert {each["old"][:1] for each in found} == {b"a", b"b"}
    disk.sync_directory(directory)
    assert {each.get("new") for each in left(disk)} == {b"new"}
    disk.close(fd)
    disk.close(other)


def test_a_name_may_come_before_the_content(directory):
    disk = SimulatedDisk(directory)
    fd = disk.open(directory / "new", NEW)
    disk.pwrite(fd, memoryview(b"new"), 0)
    disk.rename(directory / "new", directory / "old")
    assert {each["old"][:3] for each in left(disk)} == {b"", b"aaa", b"new"}
    disk.close(fd)


def test_a_rename_may_leave_both_names_but_not_none(directory):
    (directory / "new").write_bytes(b"new")
    disk = SimulatedDisk(directory)
    disk.rename(directory / "new", directory / "old")
    found = [{name: content[:3] for name, content in each.items()} for each in left(disk)]
    assert len(found) == 3
    assert {"old": b"aaa", "new": b"new"} in found
    assert {"old": b"new"} in found
    assert {"old": b"new", "new": b"new"} in found


def test_a_link_and_a_removal_may_be_lost_each_by_itself(directory):
    disk = SimulatedDisk(directory)
    disk.link(directory / "old", directory / "more")
    disk.unlink(directory / "old")
    assert {frozenset(each) for each in left(disk)} == {
        frozenset({"old"}),
        frozenset({"old", "more"}),
        frozenset({"more"}),
        frozenset(),
    }


def test_two_names_of_a_file_are_laid_out_as_one_file(directory, tmp_path):
    disk = SimulatedDisk(directory)
    disk.link(directory / "old", directory / "more")
    state = crash_state(disk.start, disk.calls, seed=0, operation=1, choice=1)
    (tmp_path / "laid").mkdir()
    state.write_to(tmp_path / "laid")
    assert (tmp_path / "laid" / "old").samefile(tmp_path / "laid" / "more")


def test_a_killed_program_leaves_all_it_did_but_not_durably(directory, tmp_path):
    disk = SimulatedDisk(directory)
    fd = disk.open(directory / "old", os.O_RDWR)
    disk.pwrite(fd, memoryview(b"b"), 0)
    disk.close(fd)
    state = crash_state(disk.start, disk.calls, seed=0, operation=3, choice=KILLED)
    laid = tmp_path / "laid"
    laid.mkdir()
    state.write_to(laid)
    assert (laid / "old").read_bytes()[:1] == b"b"
    after = SimulatedDisk(laid, start=state.medium)
    assert {each["old"][:1] for each in left(after)} == {b"a", b"b"}
    fd = after.open(laid / "old", os.O_RDWR)
    after.fsync(fd)
    after.close(fd)
    assert {each["old"][:1] for each in left(after)} == {b"b"}


@pytest.mark.parametrize(("effect", "number"), [("EIO", errno.EIO), ("ENOSPC", errno.ENOSPC)])
@pytest.mark.parametrize("sticky", [False, True])
def test_an_error_at_one_call_or_from_then_on(directory, effect, number, sticky):
    disk = SimulatedDisk(directory, faults=[Fault(2, effect, sticky)])
    fd = disk.open(directory / "old", os.O_RDWR)
    disk.pwrite(fd, memoryview(b"b"), 0)
    with pytest.raises(OSError, match=os.strerror(number)):
        disk.pwrite(fd, memoryview(b"c"), 0)
    if sticky:
        with pytest.raises(OSError, match=os.strerror(number)):
            disk.fsync(fd)
    else:
        disk.fsync(fd)
        assert [each["old"][:1] for each in left(disk)] == [b"b"]
    os.close(fd)


def test_short_reads_and_writes_and_a_disk_that_fills_up(directory):
    disk = SimulatedDisk(directory, faults=[Fault(1, "short", sticky=True)])
    fd = disk.open(directory / "old", os.O_RDWR)
    assert disk.pwrite(fd, memoryview(b"b" * 10), 0) == 5
    assert disk.preadv(fd, [memoryview(bytearray(10))], 0) == 5
    write_fully(disk, fd, memoryview(b"c" * 10), 0)
    disk.close(fd)
    assert (directory / "old").read_bytes()[:11] == b"c" * 10 + b"a"
    disk = SimulatedDisk(directory, faults=[Fault(1, "full")])
    fd = disk.open(directory / "old", os.O_RDWR)
    with pytest.raises(OSError, match="No space left"):
        write_fully(disk, fd, memoryview(b"d" * 10), 0)
    assert disk.preadv(fd, [memoryview(bytearray(10))], 0) == 10
    disk.close(fd)


@pytest.mark.parametrize(("effect", "read"), [("sync lost", b"b"), ("sync gone", b"a")])
def test_a_sync_that_fails_once_and_then_succeeds_with_the_pages_gone(directory, effect, read):
    disk = SimulatedDisk(directory, faults=[Fault(2, effect)])
    fd = disk.open(directory / "old", os.O_RDWR)
    disk.pwrite(fd, memoryview(b"b"), 0)
    with pytest.raises(OSError, match="Input/output error"):
        disk.fsync(fd)
    disk.fsync(fd)
    disk.close(fd)
    assert (directory / "old").read_bytes()[:1] == read
    assert [each["old"] for each in left(disk)] == [b"a" * 10_000]


def test_every_call_has_its_faults(directory):
    disk = SimulatedDisk(directory)
    fd = disk.open(directory / "old", os.O_RDWR)
    disk.preadv(fd, [memoryview(bytearray(10))], 0)
    disk.pwrite(fd, memoryview(b"b"), 0)
    disk.fsync(fd)
    disk.close(fd)
    found = {(fault.at, fault.effect) for fault in every_fault(disk.calls)}
    assert found == {
        *((at, "EIO") for at in range(5)),
        (1, "short"),
        *((2, effect) for effect in ("ENOSPC", "short", "full")),
        *((3, effect) for effect in ("ENOSPC", "sync lost", "sync gone")),
    }


def test_a_state_is_made_again_from_seed_operation_and_choice(directory):
    def run():
        disk = SimulatedDisk(directory)
        fd = disk.open(directory / "old", os.O_RDWR)
        for at in range(0, 9000, 700):
            disk.pwrite(fd, memoryview(b"b" * 600), at)
        disk.close(fd)
        (directory / "old").write_bytes(b"a" * 10_000)
        return disk

    first, second = run(), run()
    states = list(first.crash_states(seed=3, choices=range(20)))
    assert len({state.digest() for state in states}) > 50
    for state in states:
        again = crash_state(
            second.start, second.calls, seed=3, operation=state.operation, choice=state.choice
        )
        assert again.digest() == state.digest()
