"""The settle machine against a model that remembers everything and searches all of it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vh5d.service.watching.settle import Settle, Timing

TIMING = Timing(settle=2.0, max_wait=10.0)
NAMES = ["a", "b", "c"]
names = st.sampled_from(NAMES)
timings = st.sampled_from([TIMING, Timing(0.25, 0.5), Timing(4.0, 5.0)])
# Halves are exact in binary: the model and the machine add in another order.
steps = st.integers(0, 20).map(lambda half: half / 2)


@dataclass
class Model:
    """One file: when it changed first and last, how it was left, when to look again."""

    first: float
    last: float
    closed: bool
    timing: Timing
    look_at: float

    @property
    def due(self) -> float:
        quiet = self.timing.settle * (0.5 if self.closed else 1.0)
        return min(max(self.last + quiet, self.look_at), self.first + self.timing.max_wait)


class SettleMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.settle: Settle[str] = Settle()
        self.model: dict[str, Model] = {}
        self.now = 100.0

    def note(self, name: str, first: float, last: float, closed: bool, timing: Timing) -> None:
        if name in self.model:
            old = self.model[name]
            self.model[name] = Model(old.first, last, closed, timing, old.look_at)
        else:
            self.model[name] = Model(first, last, closed, timing, last)

    @rule(step=steps)
    def time_passes(self, step):
        self.now += step

    @rule(name=names, timing=timings)
    def changed(self, name, timing):
        self.settle.changed(name, self.now, timing)
        self.note(name, self.now, self.now, False, timing)

    @rule(name=names, timing=timings)
    def closed(self, name, timing):
        self.settle.closed(name, self.now, timing)
        self.note(name, self.now, self.now, True, timing)

    @rule(name=names, age=steps, timing=timings)
    def found(self, name, age, timing):
        self.settle.found(name, self.now, self.now - age, timing)
        if name not in self.model:
            self.note(name, self.now, self.now - age, False, timing)

    @rule(source=names, new=names, timing=timings)
    def moved(self, source, new, timing):
        self.settle.moved(source, new, self.now, timing)
        before = self.model.pop(source, None)
        self.model.pop(new, None)
        first = before.first if before else self.now
        self.model[new] = Model(first, self.now, True, timing, self.now)

    @rule(name=names)
    def forget(self, name):
        self.settle.forget(name)
        self.model.pop(name, None)

    @rule(busy=st.sets(names))
    def look(self, busy):
        due = self.settle.due(self.now)
        assert sorted(due) == sorted(k for k, m in self.model.items() if m.due <= self.now)
        assert sorted(self.settle.due(self.now)) == sorted(due), "they stay until taken"
        for name in due:
            file = self.model[name]
            if name in busy and self.settle.busy(name, self.now):
                assert self.now < file.first + file.timing.max_wait
                file.look_at = self.now + min(file.timing.settle, 0.5)
            else:
                self.settle.take(name)
                del self.model[name]

    @precondition(lambda self: self.model)
    @rule()
    def sleep_as_told(self):
        """Nothing is due before the time that was told, and something soon after."""
        told = self.settle.next_due()
        assert told is not None
        assert told <= min(file.due for file in self.model.values())

    @invariant()
    def same_files(self):
        assert len(self.settle) == len(self.model)
        assert all((name in self.settle) == (name in self.model) for name in NAMES)
        assert (self.settle.next_due() is None) == (not self.model)


TestSettle = SettleMachine.TestCase
TestSettle.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(st.floats(0.01, 1.9), min_size=1, max_size=60))
def test_a_restless_file_is_due_after_max_wait_and_never_earlier(pauses):
    settle: Settle[str] = Settle()
    now = 50.0
    settle.changed("a", now, TIMING)
    for pause in pauses:
        now += pause
        if now < 60.0:
            assert settle.due(now) == []
            settle.changed("a", now, TIMING)
        else:
            assert settle.due(now) == ["a"]
            assert not settle.busy("a", now)
            return


def test_many_open_and_close_cycles_make_one_capture():
    settle: Settle[str] = Settle()
    for moment in range(8):
        settle.changed("a", moment * 0.5, TIMING)
        settle.closed("a", moment * 0.5, TIMING)
        assert settle.due(moment * 0.5) == []
    assert settle.due(3.5 + TIMING.after_close) == ["a"]
    settle.take("a")
    assert settle.due(1000.0) == []
    assert settle.next_due() is None


def test_a_file_that_was_quiet_before_it_was_found_is_due_at_once():
    settle: Settle[str] = Settle()
    settle.found("a", at=100.0, quiet_since=10.0, timing=TIMING)
    assert settle.due(100.0) == ["a"]
    assert settle.busy("a", 100.0), "it waits for its writer, counted from when it was found"


def test_the_longest_waiting_file_comes_first():
    settle: Settle[str] = Settle()
    for name, at in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        settle.changed(name, at, TIMING)
    assert settle.due(10.0) == ["a", "b", "c"]


def test_ten_thousand_files_leave_nothing_behind():
    settle: Settle[int] = Settle()
    for round_ in range(3):
        for name in range(10_000):
            settle.changed(name, float(round_), TIMING)
    for name in settle.due(100.0):
        settle.take(name)
    assert len(settle) == 0
    assert settle.next_due() is None
