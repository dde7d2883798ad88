"""Real inotify, real files: what ends up in the inbox."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.limits import QUEUED_EVENTS, lowered
from tests.support.waiting import wait_for
from vh5d.policy import Policy
from vh5d.service.watching import observer as observer_module
from vh5d.service.watching.canary import Habits
from vh5d.service.watching.inbox import Batch, Inbox, Kind
from vh5d.service.watching.observer import DirectoryObserver
from vh5d.service.watching.roots import Root, roots_of
from vh5d.service.watching.sight import Sight

#: Quick, but not so quick that a busy machine loses a canary.
QUICK = Habits(look=0.02, sing=0.05, patience=10.0, hung_after=10.0)


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
        [Root(root)],
        inbox,
        lambda path: "/.vh5d" in path,
        polling=request.param == "polling",
        habits=QUICK,
    )
    observer.start()
    inbox.take()
    yield observer, Heard(inbox)
    observer.stop()


@pytest.fixture
def inotify(root):
    inbox = Inbox()
    observer = DirectoryObserver([Root(root)], inbox, lambda _: False, habits=QUICK)
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
    (native,) = observer._observers()
    native.stop()
    native.join()
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
    inbox = Inbox()
    observer = DirectoryObserver([Root(root)], inbox, lambda _: False)
    # The limit counts for inotify instances made from now on.
    with lowered(QUEUED_EVENTS, 16):
        observer.start()
    try:
        heard = Heard(inbox)
        with observer._native._inotify_fd._lock:  # the reader waits
            for number in range(200):
                (root / f"{number}.h5").write_bytes(b"x")
        wait_for(lambda: heard().everything, "a look at everything")
    finally:
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
        (health,) = observer.health()
        assert health.sight is Sight.POLLING
        assert "limit" in health.reason
        heard = Heard(inbox)
        (root / "a.h5").write_bytes(b"x")
        wait_for(lambda: heard.kind(root / "a.h5"), "a file")
    finally:
        observer.stop()


@pytest.fixture
def nested(root):
    """A root that may have a canary."""
    inbox = Inbox()
    observer = DirectoryObserver([Root(root, nest=True)], inbox, ours, habits=QUICK)
    observer.start()
    inbox.take()
    yield observer, Heard(inbox)
    observer.stop()


def ours(path):
    return "/.vh5d" in path


def sight(observer):
    (health,) = observer.health()
    return health.sight


def test_a_canary_is_heard_of_and_bothers_nobody(nested, root):
    observer, heard = nested
    (canary,) = (each.canary for each in observer._watched.values())
    wait_for(canary.path.exists, "a canary")
    for _ in range(3):
        before = canary.path.read_bytes()
        wait_for(lambda before=before: canary.path.read_bytes() != before, "another song")
        wait_for(lambda: canary._unheard_since is None, "its round trip")
    assert sight(observer) is Sight.EVENTS
    assert heard().changes == {}
    assert canary.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("polling", [False, True])
@pytest.mark.parametrize("recursive", [False, True])
def test_a_canary_is_heard_of_however_it_is_watched(root, monkeypatch, recursive, polling):
    monkeypatch.setattr(observer_module, "POLLING_PAUSE", 0.05)
    observer = DirectoryObserver(
        [Root(root, recursive=recursive, nest=True)], Inbox(), ours, habits=QUICK, polling=polling
    )
    heard = []
    hear, observer._handler._heard = observer._handler._heard, heard.append
    observer.start()
    try:
        wait_for(lambda: len(heard) >= 2, "two songs")
        for canary in heard:
            hear(canary)
        assert sight(observer) is (Sight.POLLING if polling else Sight.EVENTS)
    finally:
        observer.stop()


def test_where_no_canary_may_be_that_is_said(root):
    observer = DirectoryObserver([Root(root)], Inbox(), ours, habits=QUICK)
    observer.start()
    try:
        (health,) = observer.health()
        assert health.sight is Sight.EVENTS
        assert health.reason.startswith("unproven")
        assert not (root / ".vh5d").exists()
    finally:
        observer.stop()


def test_a_thread_that_dies_unseen_is_noticed_and_replaced(root):
    """watchdog's own account does not show that nobody reads the kernel's events any more."""
    inbox = Inbox()
    habits = Habits(look=0.02, sing=0.05, patience=1.0)
    observer = DirectoryObserver([Root(root, nest=True)], inbox, ours, habits=habits)
    observer.start()
    heard = Heard(inbox)
    try:
        reader = observer._native._inotify_fd
        reader.stop()
        reader.join()
        assert observer._native.is_alive()
        assert wait_for(observer.check, "the loss")
        assert heard().everything
        (root / "a.h5").write_bytes(b"x")
        wait_for(lambda: heard.kind(root / "a.h5"), "a file")
        wait_for(lambda: sight(observer) is Sight.EVENTS, "the canary")
    finally:
        observer.stop()


def test_events_that_never_arrive_are_said_and_looked_for(root):
    """A queue without a place: the kernel drops every event of it (inotify(7))."""
    inbox = Inbox()
    habits = Habits(look=0.02, sing=0.05, patience=0.5)
    observer = DirectoryObserver([Root(root, nest=True)], inbox, ours, habits=habits)
    with lowered(QUEUED_EVENTS, 0):
        observer.start()
    try:
        wait_for(lambda: sight(observer) is Sight.BLIND, "the loss")
        assert observer.health()[0].reason == "events do not arrive"
        assert observer.unheard() == {root}
        assert observer.check(), "a new beginning"
        wait_for(lambda: sight(observer) is Sight.EVENTS, "a queue with places")
    finally:
        observer.stop()


def test_a_root_that_is_not_there_is_gone_until_it_is(watching, root):
    observer, heard = watching
    root.rmdir()
    wait_for(lambda: not observer.check() and sight(observer) is Sight.GONE, "the loss")
    assert observer.unheard() == set()
    root.mkdir()
    wait_for(lambda: observer.check() or sight(observer) is not Sight.GONE, "the return")
    assert root in heard().directories


def inodes(*directories):
    return {directory: directory.stat().st_ino for directory in directories}


def test_directories_without_a_watch_are_found_after_a_second_look(inotify, root):
    observer, heard = inotify
    watched, late = root / "watched", root / "late"
    watched.mkdir()
    wait_for(lambda: watched in heard().directories, "the directory")
    real = root.parent / "elsewhere"
    real.mkdir()
    heard.all.everything = False
    late.symlink_to(real)  # links are not followed: no watch there
    observer.audit(inodes(root, watched))
    assert not heard().everything
    assert observer.unheard() == set()
    observer.audit(inodes(root, watched, late))
    assert heard().everything, "it may have been too new"
    assert observer.unheard() == set()
    observer.audit(inodes(root, watched, late))
    assert observer.unheard() == {late}
    assert sight(observer) is Sight.POLLING
    observer.audit(inodes(root, watched))
    assert sight(observer) is Sight.EVENTS


def test_a_root_is_polled_as_its_policy_says(root):
    inbox = Inbox()
    observer = DirectoryObserver(
        [Root(root, method="polling", interval=0.05)], inbox, ours, habits=QUICK
    )
    observer.start()
    heard = Heard(inbox)
    try:
        assert observer.health()[0].sight is Sight.POLLING
        assert observer.health()[0].reason == "as the policy says"
        assert [each.timeout for each in observer._pollers.values()] == [0.05]
        (root / "a.h5").write_bytes(b"x")
        wait_for(lambda: heard.kind(root / "a.h5"), "a file")
        assert observer.check() is False
    finally:
        observer.stop()


def test_policies_that_share_a_root_watch_it_as_the_one_that_wants_most(root):
    def policy(name, **settings):
        return Policy(name=name, watch=(str(root),), **settings)

    (one,) = roots_of(
        [
            policy("a", observer="inotify", poll_interval=9.0, store="/kept/{path}"),
            policy("b", observer="polling", poll_interval=7.0),
        ]
    )
    assert one == Root(root, nest=True, method="polling", interval=7.0)


def test_inotify_alone_is_not_helped_out(root, monkeypatch):
    """A shared file system is trusted, and looked at by the rescan only."""
    monkeypatch.setattr(observer_module, "shared_file_system", lambda _path: "nfs4")
    for method, places, sight_ in (
        ("auto", {root}, Sight.POLLING),
        ("inotify", set(), Sight.EVENTS),
    ):
        observer = DirectoryObserver([Root(root, method=method)], Inbox(), ours, habits=QUICK)
        observer.start()
        try:
            assert observer.due(10.0) == places
            assert observer.due(10.5) == set()
            assert observer.due(11.0) == places
            assert sight(observer) is sight_
        finally:
            observer.stop()
