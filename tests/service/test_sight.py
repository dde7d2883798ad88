"""What kind of file system a root is on, and which directories have no watch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vh5d.service.watching.sight import is_mounted, mounts, shared_file_system, unwatched

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:40 / /data rw shared:9 master:2 - nfs4 server:/data rw,hard
31 30 254:1 / /data/local rw - xfs /dev/vdb rw
32 22 0:41 / /mnt/with\\040space rw - cifs //server/share rw
33 22 0:42 / /home rw - fuse.sshfs user@server: rw
34 22 0:43 / /fast rw - fuse.portal portal rw
35 22 0:44 / /over rw - nfs server:/a rw
36 35 254:2 / /over rw - ext4 /dev/vdc rw
a line of another kind
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", None),
        ("/data", "nfs4"),
        ("/data/run/1", "nfs4"),
        ("/database", None),
        ("/data/local/a", None),
        ("/mnt/with space/a", "cifs"),
        ("/home/me", "fuse.sshfs"),
        ("/fast/a", None),
        ("/over/a", None),
    ],
)
def test_shared_file_systems_are_known_by_their_type(path, kind):
    assert shared_file_system(Path(path), MOUNTINFO) == kind


def test_mounts_are_read_as_the_kernel_writes_them():
    assert (Path("/mnt/with space"), "cifs") in list(mounts(MOUNTINFO))
    assert is_mounted(Path("/"))
    assert is_mounted(Path("/proc"))
    assert not is_mounted(Path(__file__).parent)


def test_a_directory_without_a_watch_is_found_by_its_inode():
    directories = {Path("/a"): 1, Path("/b"): 2, Path("/c"): 3}
    assert unwatched(directories, Counter({1: 1, 3: 1})) == {Path("/b")}


def test_of_two_with_one_inode_and_one_watch_both_count():
    directories = {Path("/a"): 1, Path("/other/a"): 1}
    assert unwatched(directories, Counter({1: 1})) == set(directories)
    assert unwatched(directories, Counter({1: 2})) == set()
