"""Real inotify, real files: what ends up in the inbox."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.waiting import wait_for
from vh5d.service import observer as observer_module
from vh5d.service.inbox import Batch, Inbox, Kind
from vh5d.service.observer import DirectoryObserver, Root, inotify_watches


class Heard:
    """Everything an inbox ever held."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.all = Batch()

    def __call__(self) -> Batch:
        batch = self.inbox.take()
        self.all.changes.update(batch.changes)
        self.all.directories |= batch.directories
        self.all.everything |= batch.everything
        return self.all

    def kind(self, path: Path) -> Kind | None:
        change = self().changes.get(path)
        return change.kind if change else None


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture(params=["inotify", "polling"])
def watching(request, root, monkeypatch):
    monkeypatch.setattr(observer_module, "POLLING_PAUSE", 0.05)
    inbox = Inbox()
    observer = DirectoryObserver(
        [Root(root)], inbox, lambda path: "/.vh5d" in path, polling=request.param == "polling"
    )
    observer.start()
    inbox.take()
    yield observer, Heard(inbox)
    observer.stop()


@pytest.fixture
def inotify(root):
    inbox = Inbox()
    observer = DirectoryObserver([Root(root)], inbox, lambda _: False)
    observer.start()
    inbox.take()
    yield observer, Heard(inbox)
    observer.stop()


def test_a_written_file_is_heard_of(watching, root):
    _, heard = watching
    (root / "a.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "a.h5") in {Kind.CHANGED, Kind.CLOSED}, "the file")


def test_a_rename_over_a_file_is_heard_of(watching, root):
    _, heard = watching
    (root / "a.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "a.h5"), "the first")
    (root / "a.tmp").write_bytes(b"xyz")
    wait_for(lambda: heard.kind(root / "a.tmp"), "the second")
    heard.all.changes.clear()
    (root / "a.tmp").replace(root / "a.h5")
    wait_for(lambda: heard.kind(root / "a.h5") in {Kind.CLOSED, Kind.CHANGED}, "the rename")


def test_a_file_moved_in_from_outside_is_heard_of(watching, root, tmp_path):
    _, heard = watching
    (tmp_path / "a.h5").write_bytes(b"x")
    (tmp_path / "a.h5").rename(root / "a.h5")
    wait_for(lambda: heard.kind(root / "a.h5") in {Kind.CLOSED, Kind.CHANGED}, "the file")


def test_a_deleted_file_is_heard_of(watching, root):
    _, heard = watching
    (root / "a.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "a.h5"), "the file")
    (root / "a.h5").unlink()
    wait_for(lambda: heard.kind(root / "a.h5") is Kind.DELETED, "its end")


def test_a_directory_that_appears_is_looked_into(watching, root, tmp_path):
    _, heard = watching
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / "deep" / "a.h5").write_bytes(b"x")
    (tmp_path / "new").rename(root / "new")
    wait_for(lambda: root / "new" in heard().directories, "the directory")


def test_a_directory_that_disappears_is_looked_into(watching, root):
    _, heard = watching
    (root / "sub").mkdir()
    (root / "sub" / "a.h5").write_bytes(b"x")
    wait_for(lambda: root / "sub" in heard().directories, "the directory")
    heard.all.directories.clear()
    shutil.rmtree(root / "sub")
    wait_for(lambda: root / "sub" in heard().directories, "its end")


def test_our_own_files_are_not_heard_of(watching, root):
    _, heard = watching
    (root / ".vh5d").mkdir()
    (root / ".vh5d" / "a.h5").write_bytes(b"x")
    (root / "z.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "z.h5"), "the file after it")
    assert heard.kind(root / ".vh5d" / "a.h5") is None
    assert heard().directories <= {root}


def test_reading_is_not_heard_of(inotify, root):
    _, heard = inotify
    (root / "a.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "a.h5") is Kind.CLOSED, "the file")
    heard.all.changes.clear()
    (root / "a.h5").read_bytes()
    (root / "z.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "z.h5"), "the file after it")
    assert heard.kind(root / "a.h5") is None


def test_a_rename_tells_both_names(inotify, root):
    _, heard = inotify
    (root / "a.h5").write_bytes(b"x")
    (root / "a.h5").rename(root / "b.h5")
    change = wait_for(lambda: heard().changes.get(root / "b.h5"), "the new name")
    assert change.moved_from == root / "a.h5"
    assert heard.kind(root / "a.h5") is Kind.DELETED


def test_a_root_that_was_removed_and_made_again_is_watched_again(watching, root):
    observer, heard = watching
    shutil.rmtree(root)
    wait_for(lambda: not observer.check() and observer.unwatched_roots() == [root], "the loss")
    root.mkdir()
    wait_for(observer.check, "the return")
    (root / "a.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "a.h5"), "a file in it")


def test_a_root_that_was_replaced_is_watched_anew(watching, root):
    observer, heard = watching
    root.rename(root.with_name("old"))
    root.mkdir()
    wait_for(observer.check, "the exchange")
    assert root in heard().directories
    heard.all.changes.clear()
    (root / "a.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "a.h5"), "a file in it")


def test_a_dead_observer_is_replaced(watching, root):
    observer, heard = watching
    observer._observer.stop()
    observer._observer.join()
    assert observer.check()
    assert heard().everything
    (root / "a.h5").write_bytes(b"x")
    wait_for(lambda: heard.kind(root / "a.h5"), "a file")


def test_a_handler_that_fails_ends_nothing(inotify, root, monkeypatch):
    observer, heard = inotify
    monkeypatch.setattr(heard.inbox, "closed", lambda _path: 1 / 0)
    (root / "a.h5").write_bytes(b"x")
    wait_for(lambda: heard().everything, "a look at everything")
    assert not observer.check()


def test_an_overflow_leads_to_a_look_at_everything(root):
    """The kernel drops what does not fit into its queue, and watchdog says so in its log."""
    limit = Path("/proc/sys/fs/inotify/max_queued_events")
    before = limit.read_text()
    try:
        limit.write_text("16")  # counts for inotify instances made from now on
    except OSError:
        pytest.skip("may not lower the kernel's limit")
    inbox = Inbox()
    observer = DirectoryObserver([Root(root)], inbox, lambda _: False)
    try:
        observer.start()
        heard = Heard(inbox)
        with observer._observer._inotify_fd._lock:  # the reader waits
            for number in range(200):
                (root / f"{number}.h5").write_bytes(b"x")
        wait_for(lambda: heard().everything, "a look at everything")
    finally:
        limit.write_text(before)
        observer.stop()


def test_without_inotify_it_polls(root, monkeypatch):
    def refuse() -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(observer_module, "NativeObserver", refuse)
    monkeypatch.setattr(observer_module, "POLLING_PAUSE", 0.05)
    inbox = Inbox()
    observer = DirectoryObserver([Root(root)], inbox, lambda _: False)
    observer.start()
    try:
        assert observer.polling
        heard = Heard(inbox)
        (root / "a.h5").write_bytes(b"x")
        wait_for(lambda: heard.kind(root / "a.h5"), "a file")
    finally:
        observer.stop()


def test_too_few_watches_lead_to_polling_after_a_second_look(inotify, root):
    observer, heard = inotify
    assert inotify_watches() >= 1
    observer.audit(directories=1)
    assert not observer.polling
    observer.audit(directories=10_000)
    assert not observer.polling
    assert heard().everything
    observer.audit(directories=10_000)
    assert observer.polling
