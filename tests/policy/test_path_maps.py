from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vh5d.policy.path_maps import PathMaps

WINDOWS = PathMaps([(r"D:\data", "/mnt/instrument")])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (r"D:\data\run 1\a.h5", "/mnt/instrument/run 1/a.h5"),
        ("D:/data/run/a.h5", "/mnt/instrument/run/a.h5"),
        (r"d:\DATA\Run\A.h5", "/mnt/instrument/Run/A.h5"),
        (r"D:\data\Straße İ.h5", "/mnt/instrument/Straße İ.h5"),
        (r"D:\data", "/mnt/instrument"),
        (r"D:\database\a.h5", r"D:\database\a.h5"),
        (r"E:\data\a.h5", r"E:\data\a.h5"),
    ],
)
def test_a_drive_of_windows_is_a_directory_of_all(path, name):
    assert WINDOWS.shared(path) == name


def test_the_way_back_is_in_the_hosts_own_manner():
    assert WINDOWS.local("/mnt/instrument/run 1/a.h5") == r"D:\data\run 1\a.h5"
    assert WINDOWS.local("/mnt/instruments/a.h5") == "/mnt/instruments/a.h5"


def test_a_share_of_windows():
    maps = PathMaps([(r"\\server\share\data" + "\\", "/data/")])
    assert maps.shared(r"\\Server\Share\data\a.h5") == "/data/a.h5"
    assert maps.local("/data/b/a.h5") == r"\\server\share\data\b\a.h5"


def test_another_mount_point():
    maps = PathMaps([("/ifs/data", "/mnt/instrument"), ("/ifs/data/fast", "/scratch")])
    assert maps.shared("/ifs/data/a.h5") == "/mnt/instrument/a.h5"
    assert maps.shared("/ifs/data/fast/a.h5") == "/scratch/a.h5"
    assert maps.shared("/ifs/Data/a.h5") == "/ifs/Data/a.h5", "letters differ on other systems"
    assert maps.shared("/ifs/data/a\\b.h5") == "/mnt/instrument/a\\b.h5"
    assert maps.local("/scratch/a.h5") == "/ifs/data/fast/a.h5"
    assert PathMaps().shared("/a") == PathMaps().local("/a") == "/a"


def test_everything_below_the_root():
    maps = PathMaps([("/", "/mnt/pc")])
    assert maps.shared("/data/a.h5") == "/mnt/pc/data/a.h5"
    assert maps.local("/mnt/pc/data/a.h5") == "/data/a.h5"


NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\\\0"), min_size=1), min_size=1, max_size=4
)


@given(NAMES, st.sampled_from(["/ifs/data", r"D:\data", r"\\server\share"]))
def test_what_is_below_a_map_comes_back(names, here):
    maps = PathMaps([(here, "/mnt/instrument")])
    separator = "/" if here.startswith("/") else "\\"
    path = separator.join([here, *names])
    name = maps.shared(path)
    assert name == "/".join(["/mnt/instrument", *names])
    assert maps.local(name) == path
