"""Long work: a progress bar on a terminal, and an orderly end at Ctrl-C.

An exception out of a signal handler may come up while HDF5 calls us back, which ends the process
with a segmentation fault. So the first Ctrl-C is noted, and the work is ended where it tells of
its progress: what it had staged is undone. A second one ends the process at once, as a crash
would, which stores survive.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

PATIENCE_S = 1.0

Progress = Callable[[int, int], None]


class Interrupted(click.Abort):
    """Somebody pressed Ctrl-C; with what became of the work."""


class _Stop(BaseException):
    """Not an Exception, so that nobody takes it for a failure of the work."""


class Watch:
    """Is told of progress; ends the work if somebody wants that.

    Attributes
    ----------
    stopped
        Whether somebody does. Work that was done by then is done.
    """

    def __init__(self, bar: _Bar | None) -> None:
        self._bar = bar
        self.stopped = False

    def __call__(self, done: int, total: int) -> None:
        """Show bytes done and in all."""
        if self.stopped:
            raise _Stop
        if self._bar is not None:
            self._bar.update(done, total)

    def begun(self, done: int, total: int) -> None:
        """Show them, of work that goes on to its end when some of it is done."""
        if self.stopped and done == 0:
            raise _Stop
        if self._bar is not None:
            self._bar.update(done, total)

    def note(self, _signum: int, _frame: FrameType | None) -> None:
        """Note a Ctrl-C; the next one ends the process."""
        self.stopped = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def progress(label: str, *, undone: str = "nothing was changed") -> Iterator[Watch]:
    """Show progress on standard error, if that is a terminal, and mind Ctrl-C.

    Parameters
    ----------
    label
        What is worked on.
    undone
        What to say of work that was ended.

    Yields
    ------
    Watch
        To be called with bytes done and bytes in all.

    Raises
    ------
    Interrupted
        Somebody pressed Ctrl-C, and the work did not come to its end.
    """
    bar = _Bar(label) if sys.stderr.isatty() else None
    watch = Watch(bar)
    before = signal.getsignal(signal.SIGINT)
    # A shell has its background jobs ignore Ctrl-C, which is meant for others.
    minded = before != signal.SIG_IGN and threading.current_thread() is threading.main_thread()
    if minded:
        signal.signal(signal.SIGINT, watch.note)
    try:
        yield watch
    except _Stop:
        raise Interrupted(f"interrupted; {undone}") from None
    finally:
        if minded:
            signal.signal(signal.SIGINT, before)
        if bar is not None:
            bar.stop()


class _Bar:
    def __init__(self, label: str) -> None:
        self._label = label
        self._started = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def update(self, done: int, total: int) -> None:
        if self._bar is None:
            if time.monotonic() - self._started < PATIENCE_S:
                return
            self._show(total)
        self._bar.update(self._task, completed=done, total=total or None)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, total: int) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(escape(self._label), total=total or None)
        self._bar.start()
