"""When is a changed file quiet enough to be captured: a state machine without a clock.

Events go in with the time they happened; `due` tells whose wait is over. The caller then asks
whether somebody still writes the file, and answers with `busy` or takes it with `take`. Many
changes make one capture, and `max_wait` bounds how long a restless file can put it off.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

#: Longest pause between two looks at a file that is being written, in seconds: a part of the
#: second that a version may take after `settle`.
LONGEST_PROBE_PAUSE = 0.5


@dataclass(frozen=True)
class Timing:
    """How long to wait, in seconds.

    Parameters
    ----------
    settle
        Quiet this long after a change.
    max_wait
        Longest time between the first change and the capture.
    """

    settle: float
    max_wait: float

    @property
    def after_close(self) -> float:
        """Quiet this long after a writer closed the file: nobody is known to write."""
        return self.settle / 2

    @property
    def probe_pause(self) -> float:
        """Between two looks at a file that is being written."""
        return min(self.settle, LONGEST_PROBE_PAUSE)


@dataclass
class _Restless:
    timing: Timing
    first: float
    last: float
    closed: bool
    probe_at: float
    announced: float

    @property
    def deadline(self) -> float:
        return self.first + self.timing.max_wait

    @property
    def due(self) -> float:
        wait = self.timing.after_close if self.closed else self.timing.settle
        return min(max(self.last + wait, self.probe_at), self.deadline)


class Settle(Generic[Key]):
    """Files that changed and were not captured since.

    Times are seconds of any one clock that does not go back.
    """

    def __init__(self) -> None:
        self._files: dict[Key, _Restless] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._pushes = 0

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: object) -> bool:
        return key in self._files

    def changed(self, key: Key, at: float, timing: Timing) -> None:
        """Something wrote to the file."""
        self._note(key, at, at, timing, closed=False)

    def closed(self, key: Key, at: float, timing: Timing) -> None:
        """A writer closed the file."""
        self._note(key, at, at, timing, closed=True)

    def found(self, key: Key, at: float, quiet_since: float, timing: Timing) -> None:
        """A look at the disk at `at` found a change made at `quiet_since`; no event told of it."""
        if key not in self._files:
            self._note(key, at, min(at, quiet_since), timing, closed=False)

    def moved(self, source: Key, target: Key, at: float, timing: Timing) -> None:
        """The file has another name; what it waited for stays with it."""
        carried = self._files.pop(source, None)
        self._files.pop(target, None)
        self._note(target, carried.first if carried else at, at, timing, closed=True)

    def forget(self, key: Key) -> None:
        """The file is gone."""
        self._files.pop(key, None)

    def due(self, now: float, limit: int | None = None) -> list[Key]:
        """Files whose wait is over, at most `limit`, the longest first; they stay until taken."""
        ready: dict[Key, float] = {}
        while self._heap and self._heap[0][0] <= now and len(ready) != limit:
            _, _, key = heapq.heappop(self._heap)
            file = self._files.get(key)
            if file is None or key in ready:
                continue
            if file.due <= now:
                ready[key] = file.due
            else:
                self._push(key, file)
        for key in ready:
            self._push(key, self._files[key])
        return sorted(ready, key=ready.__getitem__)

    def next_due(self) -> float | None:
        """When to call `due` again: never later than the next file is due; None: no file waits."""
        while self._heap and self._heap[0][2] not in self._files:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def busy(self, key: Key, now: float) -> bool:
        """Somebody writes the file. True: wait on; False: it waited for `max_wait` already."""
        file = self._files[key]
        if now >= file.deadline:
            return False
        file.probe_at = now + file.timing.probe_pause
        self._push(key, file)
        return True

    def unclean(self, key: Key, now: float) -> bool:
        """It is marked as being written, and nobody is seen to write it: look once more, later.

        True: wait on; False: it was quiet for another `settle` seconds.
        """
        file = self._files[key]
        rested = file.last + 2 * file.timing.settle
        if now >= min(rested, file.deadline):
            return False
        file.probe_at = min(rested, now + file.timing.probe_pause)
        self._push(key, file)
        return True

    def take(self, key: Key) -> None:
        """The file is handed to a capture; a later change begins anew."""
        del self._files[key]

    def _note(self, key: Key, first: float, last: float, timing: Timing, *, closed: bool) -> None:
        file = self._files.get(key)
        if file is None:
            file = _Restless(timing, first, last, closed, probe_at=last, announced=float("inf"))
            self._files[key] = file
        else:
            file.timing, file.last, file.closed = timing, last, closed
        if file.due < file.announced:
            self._push(key, file)

    def _push(self, key: Key, file: _Restless) -> None:
        file.announced = file.due
        self._pushes += 1
        heapq.heappush(self._heap, (file.announced, self._pushes, key))
