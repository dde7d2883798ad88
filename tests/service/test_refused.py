"""A capture that was asked for under a name that the worker does not know."""

from __future__ import annotations

from pathlib import Path

from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.claims import REFUSED_PAUSE
from vh5d.service.catalog.source import State

A = Path("/d/a.h5")


def test_what_was_asked_for_is_asked_for_again(catalog, clock):
    assert catalog.claims.take(A, "old", "change")
    catalog.claims.refused(A)
    assert catalog.retries.due() == []
    clock.now += REFUSED_PAUSE + 1
    assert catalog.retries.due() == [str(A)]
    assert catalog.claims.take(A, "new", "retry"), "its place is free"
    assert catalog.retries.due() == []
    assert catalog.source(A).policy == "new"


def test_what_nobody_asked_for_is_not(catalog: Catalog, clock):
    catalog.claims.refused(A)
    catalog.sightings.settling([(A, "p")])
    catalog.claims.refused(A)
    clock.now += REFUSED_PAUSE + 1
    assert catalog.retries.due() == []
    assert catalog.source(A).state is State.SETTLING
