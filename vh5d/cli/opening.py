"""A store, opened for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vh5d.cli.group import complain

if TYPE_CHECKING:
    from vh5d.store.reader import StoreReader

RECOVERED = {
    "redone": "a commit that was interrupted here has been finished",
    "dropped": "a commit that was interrupted here has been taken back",
    "cut": "what an interrupted commit left behind the end has been cut off",
}


@contextmanager
def opened(store: Path) -> Iterator[StoreReader]:
    """Open a store for reading; say so if it had to be recovered."""
    from vh5d.store.reader import open_store

    with open_store(store) as reader:
        if reader.recovered is not None:
            complain(f"{store}: {RECOVERED.get(reader.recovered, reader.recovered)}")
        yield reader
