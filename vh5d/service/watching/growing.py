"""When to look at files that may be written with SWMR: every so often while they change."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from vh5d.hdf5.writers import WriterState
from vh5d.policy import Policy
from vh5d.service.watching.settle import Timing

Key = TypeVar("Key", bound=Hashable)

_SHARED = 0x04


def is_shared(writer: WriterState | None, policy: Policy | None) -> bool:
    """Whether a file is to be captured as it grows: its writer lets others read (SWMR)."""
    swmr = policy is not None and policy.while_open == "swmr"
    return swmr and writer is not None and bool(writer.flag & _SHARED)


def after_death(policy: Policy) -> Timing:
    """How long to wait before a file counts as left behind, whose SWMR writer nobody sees."""
    return Timing(policy.max_wait, policy.max_wait)


class Growing(Generic[Key]):
    """Files that changed and may grow, each with the time of the next look at it.

    Times are seconds of any one clock that does not go back.
    """

    def __init__(self) -> None:
        self._looks: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._pushes = 0

    def __contains__(self, key: object) -> bool:
        return key in self._looks

    def changed(self, key: Key, at: float, interval: float) -> None:
        """Something wrote to the file: look at it when the interval that begins now is over."""
        if key not in self._looks:
            self._looks[key] = at + interval
            self._pushes += 1
            heapq.heappush(self._heap, (at + interval, self._pushes, key))

    def forget(self, key: Key) -> None:
        """It was dealt with otherwise, or is gone."""
        self._looks.pop(key, None)

    def take(self, now: float, limit: int) -> list[Key]:
        """Files to be looked at now, at most `limit`; the next change of one begins anew."""
        ready: list[Key] = []
        while self._heap and self._heap[0][0] <= now and len(ready) < limit:
            at, _, key = heapq.heappop(self._heap)
            if self._looks.get(key) == at:
                del self._looks[key]
                ready.append(key)
        return ready

    def next_due(self) -> float | None:
        """When to call `take` again; None: no file waits."""
        while self._heap and self._looks.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
