"""A store, opened for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vh5d.cli.group import complain

if TYPE_CHECKING:
    from vh5d.store.reader import StoreReader


@contextmanager
def opened(store: Path, *, theirs: bool = False) -> Iterator[StoreReader]:
    """Open a store for reading; say so if it had to be recovered.

    Parameters
    ----------
    store
        The store.
    theirs
        Whether a file of versioned-hdf5 will do.
    """
    from vh5d.store.reader import open_store

    with open_store(store, theirs=theirs) as reader:
        tell_recovery(store, reader.recovered)
        yield reader


def tell_recovery(store: Path, recovered: str | None) -> None:
    """Say what had to be done about a commit that a crash interrupted, if anything."""
    from vh5d.hdf5.recovery import RECOVERED

    if recovered is not None:
        complain(f"{store}: {RECOVERED[recovered]}")
