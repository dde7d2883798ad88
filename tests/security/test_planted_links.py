"""Somebody who may write beside a source does not choose which file the service writes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import h5py
import pytest

from tests.support.service import run_vh5d
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.capture.restore import restore
from vh5d.errors import SourceChangedError, StoreWriteError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.journal import journal_path
from vh5d.hdf5.temporary import make_temporary
from vh5d.hdf5.writer_lock import lock_path

SOMEBODY = 12345


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "data" / "a.h5"
    path.parent.mkdir()
    write(path, 1)
    return path


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def write(path, number):
    with h5py.File(path, "w") as file:
        file["x"] = number


def plant(link, target, owner=SOMEBODY):
    if os.geteuid() != 0:
        pytest.skip("only root can make a link of somebody else's")
    link.symlink_to(target)
    os.lchown(link, owner, owner)


@pytest.mark.parametrize("where", [".vh5d", ".vh5d/below", ".vh5d/below/a.h5"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_of_somebody_else_in_the_path_of_a_store_is_refused(
    source, tmp_path, where, dangling
):
    elsewhere = tmp_path / "elsewhere"
    if not dangling:
        elsewhere.mkdir()
    link = source.parent / where
    link.parent.mkdir(parents=True, exist_ok=True)
    plant(link, elsewhere)
    store = source.parent / ".vh5d" / "below" / "a.h5"
    with pytest.raises(StoreWriteError, match=r"is a symbolic link of another user \(uid 12345\)"):
        capture(source, store)
    assert not dangling or not elsewhere.exists()
    assert dangling or list(elsewhere.iterdir()) == []


def test_a_service_makes_nothing_where_such_a_link_leads(source, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    plant(source.parent / ".vh5d", elsewhere)
    up = run_vh5d("up", source.parent, "--state", tmp_path / "state")
    _, errors = up.communicate(timeout=60)
    assert up.returncode == 1
    assert "is a symbolic link of another user (uid 12345)" in errors
    assert list(elsewhere.iterdir()) == []


def test_links_of_ones_own_are_followed(source, tmp_path):
    (tmp_path / "disk").mkdir()
    (source.parent / ".vh5d").symlink_to(tmp_path / "disk")
    assert capture(source, source.parent / ".vh5d" / "a.h5").version == "v1"
    assert (tmp_path / "disk" / "a.h5").is_file()


def test_links_that_lead_to_the_source_are_whose_the_source_is(source, tmp_path):
    plant(tmp_path / "link", source.parent)
    through = tmp_path / "link" / "a.h5"
    assert capture(through, tmp_path / "link" / ".vh5d" / "a.h5").version == "v1"


def test_a_link_in_the_journals_place_is_not_written_through(source, tmp_path, victim):
    # A commit truncated what the link led to, and wrote a journal there.
    store = tmp_path / "a.h5"
    capture(source, store)
    before = store.read_bytes()
    journal_path(store).symlink_to(victim)
    write(source, 2)
    with pytest.raises(StoreWriteError):
        capture(source, store)
    assert victim.read_text() == "precious"
    journal_path(store).unlink()
    assert store.read_bytes() == before
    assert capture(source, store).version == "v2"


def test_a_link_in_the_lock_files_place_is_not_followed(source, tmp_path, victim):
    store = tmp_path / "a.h5"
    lock_path(store).symlink_to(victim)
    with pytest.raises(StoreWriteError):
        capture(source, store)
    assert victim.read_text() == "precious"


def test_a_temporary_files_name_cannot_be_taken(tmp_path, victim, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    store = tmp_path / "a.h5"
    (tmp_path / f".a.h5.tmp-{os.getpid()}-guessed").symlink_to(victim)
    with pytest.raises(FileExistsError):
        make_temporary(Disk(), store, 0o600)
    assert victim.read_text() == "precious"


def test_a_store_that_became_a_link_is_not_opened(tmp_path, victim):
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        Disk().open(tmp_path / "link", os.O_RDWR)


def test_a_source_that_became_a_link_since_it_was_found_is_not_read(source, tmp_path):
    secret = tmp_path / "secret.h5"
    write(secret, 42)
    real = Path(os.path.realpath(source))
    source.unlink()
    source.symlink_to(secret)
    with pytest.raises(SourceChangedError, match="leads elsewhere"):
        capture(source, tmp_path / "store.h5", options=CaptureOptions(real=real))
    assert not (tmp_path / "store.h5").exists()


# Permissions: no more than the source's.


def modes(directory):
    return {path: stat.S_IMODE(path.lstat().st_mode) for path in directory.rglob("*")}


@pytest.mark.parametrize(
    ("file_mode", "directory_mode"),
    [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755), (0o666, 0o777), (0o600, 0o755)],
)
def test_nobody_may_read_a_store_who_may_not_read_its_source(source, file_mode, directory_mode):
    source.chmod(file_mode)
    source.parent.chmod(directory_mode)
    store = source.parent / ".vh5d" / "a" / "b" / "a.h5"
    seen = []

    def look(_done, _total):
        seen.append(modes(source.parent / ".vh5d"))

    capture(source, store, options=CaptureOptions(threads=1), progress=look)
    write(source, 2)
    capture(source, store, options=CaptureOptions(threads=1), progress=look)
    seen.append(modes(source.parent / ".vh5d"))
    assert len({path.name for each in seen for path in each}) >= 4  # lock and temporary files too
    for each in seen:
        for path, mode in each.items():
            allowed = 0o700 | directory_mode & 0o055 if path.is_dir() else 0o600 | file_mode
            assert mode & ~allowed == 0, (path, oct(mode))


def test_a_journal_may_be_read_by_nobody_who_may_not_read_the_store(source, tmp_path):
    store = tmp_path / "a.h5"
    source.chmod(0o600)
    capture(source, store)
    found = []

    class Watching(Disk):
        def sync_directory(self, directory):
            journal = journal_path(store)
            if journal.exists():
                found.append(stat.S_IMODE(journal.stat().st_mode))
            super().sync_directory(directory)

    write(source, 2)
    with AtomicFile.open(store, disk=Watching()) as atomic:
        with h5py.File(atomic, "r+") as file:
            file["y"] = 1
        atomic.commit()
    assert found
    assert set(found) == {0o600}


def test_a_restored_file_is_never_set_user_id(source, tmp_path):
    # Root who restored it made somebody else's program, called x.h5, one of root's own.
    source.chmod(0o6755)
    capture(source, tmp_path / "store.h5")
    restore(tmp_path / "store.h5", "v1", tmp_path / "restored.h5")
    assert stat.S_IMODE((tmp_path / "restored.h5").stat().st_mode) == 0o755
