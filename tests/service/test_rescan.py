from __future__ import annotations

import os
import shutil

import pytest

from vh5d.policy import Config, Policy
from vh5d.service.catalog.source import FileStat, State
from vh5d.service.watching.rescan import look


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    (path / "sub" / "deep").mkdir(parents=True)
    return path


@pytest.fixture
def config(root):
    return Config(policies=(Policy(name="p", watch=(str(root),), exclude=("**/scratch/**",)),))


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def capture(catalog, path):
    catalog.captures.started(path, "p")
    catalog.captures.captured(path, FileStat.of(path.stat()), state=State.CURRENT, version="v1")


def names(findings):
    return sorted(path.name for path, _ in findings.changed)


def test_new_files_are_found_wherever_they_are(root, config, catalog):
    for name in ("a.h5", "sub/b.nxs", "sub/deep/c.nc"):
        put(root / name)
    for name in (".vh5d/a.h5", "scratch/d.h5", "notes.txt", ".hidden.h5"):
        put(root / name)
    (root / "dir.h5").mkdir()
    os.mkfifo(root / "fifo.h5")
    findings = look(catalog, config)
    assert names(findings) == ["a.h5", "b.nxs", "c.nc"]
    assert len(findings.files) == 3
    assert root / "sub" / "deep" in findings.directories
    assert root / ".vh5d" not in findings.directories


def test_a_captured_file_is_not_found_again(root, config, catalog):
    capture(catalog, put(root / "a.h5"))
    assert look(catalog, config).changed == []


@pytest.mark.parametrize("how", ["size", "mtime", "another file"])
def test_a_file_that_differs_is_found(root, config, catalog, how):
    path = put(root / "a.h5")
    capture(catalog, path)
    stat = path.stat()
    if how == "size":
        path.write_bytes(b"xy")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif how == "mtime":
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    else:
        other = put(root / "other.txt")
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        other.replace(path)
    assert names(look(catalog, config)) == ["a.h5"]


def test_what_is_on_its_way_is_left_alone(root, config, catalog):
    queued, running, failed = (put(root / f"{name}.h5") for name in "abc")
    catalog.claims.take(queued, "p", "change")
    catalog.captures.started(running, "p")
    catalog.captures.started(failed, "p")
    catalog.captures.postponed(failed, 60, "busy", state=State.FAILED, attempts=1, busy=0)
    assert look(catalog, config).changed == []


def test_a_file_that_is_called_settling_for_ever_is_found(root, config, catalog):
    """The word of a host that was cut off may arrive after another's capture."""
    path = put(root / "a.h5")
    capture(catalog, path)
    assert look(catalog, config).changed == []
    catalog.sightings.settling([(path, "p")])
    assert names(look(catalog, config)) == ["a.h5"]


def test_a_file_that_was_given_up_is_left_alone_until_it_changes(root, config, catalog):
    path = put(root / "a.h5")
    catalog.captures.given_up(path, FileStat.of(path.stat()), "bad", state=State.FAILED)
    assert look(catalog, config).changed == []
    path.write_bytes(b"something else")
    assert names(look(catalog, config)) == ["a.h5"]


def test_a_deleted_file_is_gone(root, config, catalog):
    path = put(root / "sub" / "a.h5")
    capture(catalog, path)
    path.unlink()
    assert look(catalog, config).gone == [path]
    catalog.sightings.missing(path)
    assert look(catalog, config).gone == []


def test_a_missing_file_that_is_back_unchanged_is_found(root, config, catalog):
    path = put(root / "a.h5")
    capture(catalog, path)
    path.rename(root / "away.txt")
    catalog.sightings.missing(path)
    (root / "away.txt").rename(path)
    assert names(look(catalog, config)) == ["a.h5"]


def test_a_deleted_directory_takes_its_files_with_it(root, config, catalog):
    path = put(root / "sub" / "a.h5")
    other = put(root / "b.h5")
    capture(catalog, path)
    capture(catalog, other)
    other.unlink()
    shutil.rmtree(root / "sub")
    assert look(catalog, config, [root / "sub"]).gone == [path]


def test_a_share_that_is_not_mounted_is_no_deletion(root, config, catalog):
    path = put(root / "a.h5")
    stat = FileStat.of(path.stat())
    catalog.captures.started(path, "p")
    elsewhere = FileStat(stat.size, stat.mtime_ns, stat.inode, stat.device + 1)
    catalog.captures.captured(path, elsewhere, state=State.CURRENT)
    path.unlink()
    assert look(catalog, config).gone == []


def test_a_root_that_is_gone_is_no_deletion(root, config, catalog):
    capture(catalog, put(root / "a.h5"))
    shutil.rmtree(root)
    assert look(catalog, config).gone == []


def test_only_what_is_asked_for_is_looked_at(root, config, catalog):
    put(root / "a.h5")
    put(root / "sub" / "b.h5")
    findings = look(catalog, config, [root / "sub"])
    assert names(findings) == ["b.h5"]
    assert root not in findings.directories


def test_nested_policies_count_a_directory_once(root, catalog):
    config = Config(
        policies=(
            Policy(name="inner", watch=(str(root / "sub"),)),
            Policy(name="outer", watch=(str(root),)),
        )
    )
    put(root / "sub" / "a.h5")
    findings = look(catalog, config)
    assert names(findings) == ["a.h5"]
