from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest
import structlog

from vh5d.policy.model import Policy
from vh5d.service.telling import lock_reach as module
from vh5d.service.telling.doctor.places import stores
from vh5d.service.telling.lock_reach import Reach, lock_reach, warn_of_locks
from vh5d.service.watching import sight

MOUNT = "30 1 0:25 / / rw - ext4 /dev/sda rw\n36 30 0:42 / {point} rw,relatime shared:1 - {kind}\n"


@pytest.mark.parametrize(
    ("kind", "reach"),
    [
        ("nfs4 server:/x rw,vers=4.2,local_lock=none", Reach.EVERYBODY),
        ("nfs server:/x rw,vers=3,nolock", Reach.THIS_HOST),
        ("nfs server:/x rw,vers=3,local_lock=flock", Reach.THIS_HOST),
        ("cifs //server/x rw,vers=3.1.1", Reach.EVERYBODY),
        ("cifs //server/x rw,nobrl", Reach.THIS_HOST),
        ("lustre a@tcp:/x rw,flock", Reach.EVERYBODY),
        ("lustre a@tcp:/x rw,localflock", Reach.THIS_HOST),
        ("fuse.sshfs me@server:/x rw", Reach.THIS_HOST),
        ("xfs /dev/sdb rw,nolock", Reach.EVERYBODY),
    ],
)
def test_mounts_that_keep_locks_to_themselves_are_known(kind, reach):
    text = MOUNT.format(point="/mnt/my\\040share", kind=kind)
    found = lock_reach(Path("/mnt/my share/data"), text)
    assert found.reach is reach
    assert (found.reason is None) == (reach is Reach.EVERYBODY)
    assert lock_reach(Path("/mnt/other"), text).reach is Reach.EVERYBODY


def test_a_directory_whose_locks_work_is_left_as_it_was(tmp_path):
    assert lock_reach(tmp_path).reach is Reach.EVERYBODY
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, error):
    """There is none here: the kernel's answer is what is made up."""

    def flock(fd, operation):
        raise OSError(error, "No locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert lock_reach(tmp_path) == module.LockReach(Reach.NOBODY, "No locks")
    with structlog.testing.capture_logs() as said:
        (tmp_path / ".vh5d").mkdir()
        warn_of_locks([Policy(name="p", watch=(str(tmp_path),))])
    assert said[0]["log_level"] == "error"
    assert said[0]["path"] == str(tmp_path / ".vh5d")


def test_locks_that_two_can_have_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda _fd, _operation: None)
    assert lock_reach(tmp_path).reach is Reach.NOBODY


def test_the_doctor_notes_locks_that_stay_on_this_host(tmp_path, monkeypatch):
    text = MOUNT.format(point=tmp_path, kind="nfs server:/x rw,nolock")
    (tmp_path / "mountinfo").write_text(text)
    monkeypatch.setattr(module, "MOUNTINFO", tmp_path / "mountinfo")
    monkeypatch.setattr(sight, "MOUNTINFO", tmp_path / "mountinfo")
    found = list(stores(Policy(name="p", watch=(str(tmp_path),))))
    assert [each.message for each in found if "keep other hosts out" in each.message] == [
        "locks do not keep other hosts out: nfs is mounted with nolock"
    ]
