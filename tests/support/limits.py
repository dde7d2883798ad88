"""Limits of the kernel, lowered for as long as something begins under them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Events that an inotify instance may hold; counts for instances made from now on (inotify(7)).
QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


@contextlib.contextmanager
def lowered(limit: Path, value: int) -> Iterator[None]:
    """Lowered for everybody: only for a moment."""
    before = limit.read_text()
    try:
        limit.write_text(str(value))
    except OSError:
        pytest.skip("may not lower the kernel's limit")
    try:
        yield
    finally:
        limit.write_text(before)
