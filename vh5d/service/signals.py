"""Requests to stop: handlers that set a flag and do nothing else.

An exception out of a handler while HDF5 calls us back ends the process with a segmentation
fault; a lock that a handler takes may be one that the interrupted code holds.
"""

from __future__ import annotations

import signal
from types import FrameType


class StopRequests:
    """How often somebody asked this process to stop."""

    def __init__(self) -> None:
        self.count = 0

    def install(self) -> None:
        """Count SIGINT, SIGTERM and SIGHUP (the terminal is gone); from the main thread."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._note)

    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self.count > 0

    def _note(self, _signum: int, _frame: FrameType | None) -> None:
        self.count += 1
