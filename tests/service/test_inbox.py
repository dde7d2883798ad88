from __future__ import annotations

import threading
from pathlib import Path

from vh5d.service.watching.inbox import Inbox, Kind

A, B, C = Path("/d/a.h5"), Path("/d/b.h5"), Path("/d/c.h5")


def test_only_the_last_event_of_a_file_is_kept():
    inbox = Inbox(clock=iter(range(100)).__next__)
    for _ in range(5):
        inbox.changed(A)
    inbox.closed(A)
    batch = inbox.take()
    assert [(path, change.kind, change.at) for path, change in batch.changes.items()] == [
        (A, Kind.CLOSED, 5)
    ]
    assert not inbox.take()


def test_a_name_is_followed_through_two_renames_and_a_write():
    inbox = Inbox()
    inbox.moved(A, B)
    inbox.moved(B, C)
    inbox.changed(C)
    changes = inbox.take().changes
    assert changes[C].moved_from == A
    assert changes[C].kind is Kind.CHANGED
    assert changes[A].kind is changes[B].kind is Kind.DELETED


def test_a_deleted_file_that_comes_back_has_no_former_name():
    inbox = Inbox()
    inbox.moved(A, B)
    inbox.deleted(B)
    inbox.changed(B)
    assert inbox.take().changes[B].moved_from is None


def test_an_event_outweighs_a_look_at_the_disk():
    inbox = Inbox()
    inbox.deleted(A)
    inbox.found([(A, 1.0), (B, 2.0)])
    changes = inbox.take().changes
    assert changes[A].kind is Kind.DELETED
    assert changes[B].kind is Kind.FOUND


def test_a_flood_becomes_one_look_at_everything():
    inbox = Inbox(limit=100)
    for number in range(1000):
        inbox.changed(Path(f"/d/{number}.h5"))
    batch = inbox.take()
    assert batch.everything
    assert len(batch.changes) <= 100


def test_waiting_ends_when_something_comes():
    inbox = Inbox()
    threading.Timer(0.01, inbox.changed, [A]).start()
    inbox.wait(30.0)
    assert A in inbox.take().changes
