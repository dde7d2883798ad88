"""A capture that was asked for under a name that the worker does not know."""

from __future__ import annotations

from pathlib import Path

from vh5d.service.catalog import REFUSED_PAUSE, Catalog, State

A = Path("/d/a.h5")


def test_what_was_asked_for_is_asked_for_again(catalog, clock):
    assert catalog.claim(A, "old", "change")
    catalog.refused(A)
    assert catalog.retries() == []
    clock.now += REFUSED_PAUSE + 1
    assert catalog.retries() == [str(A)]
    assert catalog.claim(A, "new", "retry"), "its place is free"
    assert catalog.retries() == []
    assert catalog.source(A).policy == "new"


def test_what_nobody_asked_for_is_not(catalog: Catalog, clock):
    catalog.refused(A)
    catalog.settling([(A, "p")])
    catalog.refused(A)
    clock.now += REFUSED_PAUSE + 1
    assert catalog.retries() == []
    assert catalog.source(A).state is State.SETTLING
