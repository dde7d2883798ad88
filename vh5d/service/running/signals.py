"""Requests to stop, or to look at the configuration: handlers that set a flag and do nothing else.

An exception out of a handler while HDF5 calls us back ends the process with a segmentation
fault; a lock that a handler takes may be one that the interrupted code holds.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


class StopRequests:
    """How often somebody asked this process to stop, and to look at its configuration.

    Parameters
    ----------
    reloads
        SIGHUP is a request of the second kind, unless the terminal has gone.
    """

    def __init__(self, *, reloads: bool = False) -> None:
        self.count = 0
        self.reloads = 0
        self._reloads = reloads
        self._giving_way = False
        self._had_terminal = _has_terminal()

    def install(self) -> None:
        """Count SIGINT, SIGTERM and SIGHUP; from the main thread."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._note)
        self.install_hangup()

    def install_hangup(self) -> None:
        """Count SIGHUP; from the main thread."""
        signal.signal(signal.SIGHUP, self._note_hangup)

    def is_set(self) -> bool:
        """Whether to stop, for good or for a successor."""
        return self.count > 0 or self._giving_way

    def request(self) -> None:
        """Ask to stop for good."""
        self.count += 1

    def give_way(self) -> None:
        """Stop for a successor."""
        self._giving_way = True

    def _note(self, _signum: int, _frame: FrameType | None) -> None:
        self.count += 1

    def _note_hangup(self, _signum: int, _frame: FrameType | None) -> None:
        if self._reloads and not (self._had_terminal and not _has_terminal()):
            self.reloads += 1
        else:
            self.count += 1


def _has_terminal() -> bool:
    return any(os.isatty(descriptor) for descriptor in range(3))
