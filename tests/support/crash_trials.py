"""Crashes and errors tried at every operation of a scene, and what must be true afterwards."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import h5py
from blake3 import blake3

from tests.support.crash_scenes import NOTHING, SCENES, STORE, Scene, Step, fingerprint
from vh5d.errors import StoreWriteError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.recovery import recover
from vh5d.hdf5.superblock import find_superblock
from vh5d.testing.faults import (
    KILLED,
    CrashState,
    Effect,
    Fault,
    Medium,
    SimulatedDisk,
    crash_state,
    every_fault,
)

Allowed = tuple[str, ...]
"""States in which a store may be, the newest last."""


@dataclass
class Tally:
    """What was tried, and what went wrong.

    Attributes
    ----------
    tried
        Crash states, by what was going on.
    distinct
        Digests of those that differ: of files, and of the step that they came from.
    errors
        Injected errors, by effect and what was going on.
    outcomes
        What became of the steps that met an error, and of the stores after a crash.
    """

    tried: Counter[str] = field(default_factory=Counter)
    distinct: dict[str, set[bytes]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.tried += other.tried
        for kind, digests in other.distinct.items():
            self.distinct.setdefault(kind, set()).update(digests)
        self.errors += other.errors
        self.outcomes += other.outcomes
        self.failures += other.failures


@dataclass(frozen=True)
class Span:
    """A step as it was recorded: its calls, and the states before and after."""

    number: int
    step: Step
    first: int
    stop: int
    old: str
    new: str
    before: Medium

    @property
    def allowed(self) -> Allowed:
        return (self.old, self.new)


class Trials:
    """One scene, recorded once, tried in many ways.

    Parameters
    ----------
    name
        One of `SCENES`.
    root
        A directory of one's own.
    seed
        Decides what is left to chance.
    where
        Told what is tried next, so that it is known should the process die of it.
    """

    def __init__(
        self, name: str, root: Path, *, seed: int, where: Callable[[str], object] = lambda _: None
    ) -> None:
        work = root / "work"
        self._disk_directory = root / "disk"
        self._record_directory = root / "take"
        for path in (work, self._disk_directory, self._record_directory):
            path.mkdir()
        self.scene: Scene = SCENES[name](work)
        self.seed = seed
        self.tally = Tally()
        self._where = where
        self._plain: dict[bytes, str] = {}
        self._full: dict[bytes, str] = {}
        self._alive: set[tuple[bytes, int]] = set()
        self._seen: set[bytes] = set()
        # In the same directory, so that paths that a store remembers are the same.
        self.disk = self._simulate(self._record_directory)
        self.spans = list(self._record())

    def _record(self) -> Iterator[Span]:
        store, old = self._record_directory / STORE, NOTHING
        for number, step in enumerate(self.scene.steps):
            before = Medium.of(self._record_directory)
            first = len(self.disk.calls)
            step.run(store, self.disk)
            new = self.scene.complete(store)
            yield Span(number, step, first, len(self.disk.calls), old, new, before)
            old = new

    # Power cuts and kills while a step runs.

    def crash(self, span: Span, choices: Sequence[int], at: int | None = None) -> None:
        """At every operation of a step: the old state or the new one; at its end, the new one."""
        for state in self._states(span, choices, at):
            with self._trial("crash", span, state):
                self.check(state.medium, span, self._allowed(span, state.operation), span.step.kind)

    def _states(
        self, span: Span, choices: Sequence[int], at: int | None = None
    ) -> Iterator[CrashState]:
        return self.disk.crash_states(
            seed=self.seed,
            choices=choices,
            first=span.first + 1 if at is None else at,
            stop=span.stop + 1 if at is None else at + 1,
        )

    @staticmethod
    def _allowed(span: Span, operation: int) -> Allowed:
        return span.allowed if operation < span.stop else (span.new,)

    # Crashes of the recovery from a crash.

    def crash_again(
        self,
        span: Span,
        choices: Sequence[int],
        then: Sequence[int],
        *,
        retry: bool = False,
        at: int | None = None,
    ) -> None:
        """Recover from each crash, crash at every operation of that, and recover again.

        With `retry` the step is done again after the recovery, on the same disk.
        """
        for state in self._states(span, choices, at):
            with self._trial("retry" if retry else "again", span, state):
                self._recover_and_crash(span, state, then, retry=retry)

    def _recover_and_crash(
        self, span: Span, state: CrashState, then: Sequence[int], *, retry: bool
    ) -> None:
        directory = self._lay_out(state.medium).parent
        disk = self._simulate(directory, start=state.medium)
        allowed = self._allowed(span, state.operation)
        self._recover_and_retry(span, disk, allowed, then, "recovery", retry=retry)

    def _recover_and_retry(
        self,
        span: Span,
        disk: SimulatedDisk,
        allowed: Allowed,
        then: Sequence[int],
        kind: str,
        *,
        retry: bool,
    ) -> None:
        """Go on over a disk on which something ended badly."""
        store, first = self._disk_directory / STORE, len(disk.calls)
        if store.exists():
            recover(store, disk=disk, timeout=2.0)
            with AtomicFile.open(store, disk=disk, timeout=2.0):
                pass
        stop, seen = len(disk.calls), self.look(store)
        _expect(seen in allowed, f"recovered to {self._tell(seen, span)}")
        if retry:
            span.step.run(store, disk)
            _expect(self.look(store) == span.new, "what was done again is not there")
        done = len(disk.calls)
        # The checks lay other states out in the directory: look at nothing there any more.
        self._cut(span, disk, (first + 1, stop), allowed, then, kind)
        self._cut(span, disk, (stop, stop + 1), (seen,), then, kind)
        if retry:
            self._cut(span, disk, (stop + 1, done), (seen, span.new), then, kind)
            self._cut(span, disk, (done, done + 1), (span.new,), then, kind)

    def _cut(
        self,
        span: Span,
        disk: SimulatedDisk,
        where: tuple[int, int],
        allowed: Allowed,
        then: Sequence[int],
        kind: str,
    ) -> None:
        """Cut the power at each of some operations."""
        first, stop = where
        for state in disk.crash_states(seed=self.seed, choices=then, first=first, stop=stop):
            self._where(f"{self._label}, then {state}")
            try:
                self.check(state.medium, span, allowed, kind)
            except Exception as error:
                error.add_note(f"then {state}")
                raise

    # Errors.

    def faults(self, span: Span) -> list[Fault]:
        """Every fault that a step can meet, done by itself."""
        self._lay_out(span.before)
        disk = self._simulate(self._disk_directory)
        span.step.run(self._disk_directory / STORE, disk)
        return list(every_fault(disk.calls))

    def fail(self, span: Span, faults: Iterable[Fault], then: Sequence[int]) -> None:
        """Each fault is told of, or does no harm; then the power goes; and the step done again."""
        for fault in faults:
            self._label = f"{self.scene.name}/{span.number}/{fault.at}/{fault.effect}"
            self._label += f"/{int(fault.sticky)}"
            self._where(self._label)
            self.tally.errors[f"{fault.effect} in {span.step.kind}"] += 1
            try:
                self._fail(span, fault, then)
            except Exception:  # noqa: BLE001 - each failure is one to be counted
                self._failed(f"fail {self._label} ({fault})")

    def _fail(self, span: Span, fault: Fault, then: Sequence[int]) -> None:
        store = self._lay_out(span.before)
        disk = self._simulate(self._disk_directory, faults=[fault])
        allowed = span.allowed
        try:
            span.step.run(store, disk)
            allowed = (span.new,)
            self.tally.outcomes["done all the same"] += 1
        except StoreWriteError:
            self.tally.outcomes["refused"] += 1
        ended, visible = len(disk.calls), Medium.of(self._disk_directory)
        if fault.effect in {"sync lost", "sync gone"} or random.Random(str(fault)).random() < 0.3:
            kind = "after an error"
            self._cut(span, disk, (fault.at + 1, ended), span.allowed, then, kind)
            self._cut(span, disk, (ended, ended + 1), allowed, then, kind)
        self._lay_out(visible)
        again = self._simulate(self._disk_directory, start=_medium_after(disk))
        self._recover_and_retry(span, again, allowed, then, "after an error", retry=False)
        self._lay_out(visible)
        again = self._simulate(self._disk_directory, start=_medium_after(disk))
        self._recover_and_retry(span, again, allowed, then[:3], "after an error", retry=True)

    # One of all these, once more.

    def reproduce(self, mode: str, label: str, then: Sequence[int]) -> None:
        """Try again what failed: see the labels in `Tally.failures`."""
        scene, number, at, *rest = label.split("/")
        assert scene == self.scene.name
        span = self.spans[int(number)]
        if mode == "crash":
            self.crash(span, [int(rest[0])], int(at))
        elif mode in {"again", "retry"}:
            self.crash_again(span, [int(rest[0])], then, retry=mode == "retry", at=int(at))
        else:
            effects = {effect: effect for effect in get_args(Effect)}
            self.fail(span, [Fault(int(at), effects[rest[0]], rest[1] == "1")], then)

    # What must be true.

    def check(self, medium: Medium, span: Span, allowed: Allowed, kind: str) -> None:
        """Lay out what a crash left, and open it: by plain HDF5, by recovery, by a writer."""
        self.tally.tried[kind] += 1
        digest = CrashState(0, 0, 0, "", medium).digest()
        case = blake3(repr((digest, self.scene.name, span.number, allowed)).encode()).digest()[:8]
        if case in self._seen and not medium.unsynced:
            return
        self._seen.add(case)
        self.tally.distinct.setdefault(kind, set()).add(case)
        store = self._lay_out(medium)
        if digest[0] % 4 == 0:
            store.with_name(f"{STORE}.lock").write_bytes(b"{}")
        # Without the flag, HDF5 may read a store half written, and may never come back from it.
        plain = self._look_plainly(store) if self.scene.flagged else None
        if plain is not None:
            _expect(plain in allowed, f"plain HDF5 reads {self._tell(plain, span)}")
        if not store.exists():
            _expect(NOTHING in allowed, "the store is gone")
            self._check_alive(span, store, b"")
            return
        recover(store, timeout=2.0)
        after = self.look(store)
        _expect(after in allowed, f"recovered to {self._tell(after, span)}")
        _expect(plain != allowed[-1] or after == plain, "what was read is taken back")
        with AtomicFile.open(store, timeout=2.0) as atomic:
            _expect(store.stat().st_size == atomic.base, "bytes are left behind the end")
        left = [path.name for path in store.parent.iterdir()]
        if kind == "after an error":
            # The removal of what a first attempt left may be lost when a second one is not.
            left = [name for name in left if ".tmp-" not in name]
        _expect(left == [STORE], f"{left} are left")
        self.tally.outcomes["new" if after == span.new else "old"] += 1
        if after == span.old != span.new:
            self._check_alive(span, store, _key(store))

    def look(self, store: Path) -> str:
        """The state of a store that anybody may open, all of it checked."""
        if not store.exists():
            return NOTHING
        key = _key(store)
        if key not in self._full:
            self._full[key] = self.scene.complete(store)
        return self._full[key]

    def _look_plainly(self, store: Path) -> str | None:
        if not store.exists():
            return NOTHING
        try:
            h5py.File(store, "r").close()
        except OSError:
            return None
        key = _key(store)
        if key not in self._plain:
            self._plain[key] = fingerprint(store)
        return self._plain[key]

    def _check_alive(self, span: Span, store: Path, key: bytes) -> None:
        """The step can be done on it."""
        if (key, span.number) in self._alive:
            return
        self._alive.add((key, span.number))
        span.step.run(store, None)
        _expect(self.look(store) == span.new, "what was done again is not there")

    def _tell(self, state: str, span: Span) -> str:
        known = {span.new: "the new state", span.old: "the old state"}
        return known.get(state, "neither the old state nor the new one")

    # Where it happens.

    def _simulate(self, directory: Path, **options: Any) -> SimulatedDisk:
        return SimulatedDisk(directory, links=self.scene.links, **options)

    def _lay_out(self, medium: Medium) -> Path:
        for path in self._disk_directory.iterdir():
            path.unlink()
        CrashState(0, 0, 0, "", medium).write_to(self._disk_directory)
        return self._disk_directory / STORE

    # What is told of it.

    def _trial(self, mode: str, span: Span, state: CrashState) -> _Trial:
        self._label = f"{self.scene.name}/{span.number}/{state.operation}/{state.choice}"
        self._where(f"{mode} {self._label} ({state})")
        return _Trial(lambda: self._failed(f"{mode} {self._label} ({state})"))

    def _failed(self, label: str) -> None:
        trace = traceback.format_exc(limit=-3)
        self.tally.failures.append(f"{label}, seed {self.seed}\n{trace}")

    @cached_property
    def _label(self) -> str:
        return self.scene.name


@dataclass
class _Trial:
    """A block whose failure is counted, and no hindrance to the next."""

    failed: Callable[[], object]

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        self.failed()
        return True


def _expect(condition: bool, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


def _medium_after(disk: SimulatedDisk) -> Medium:
    last = crash_state(disk.start, disk.calls, seed=0, operation=len(disk.calls), choice=KILLED)
    return last.medium


def _key(store: Path) -> bytes:
    """What HDF5 sees of a store: all up to the end that its superblock names."""
    content = store.read_bytes()
    found = find_superblock(lambda at, n: content[at : at + n], len(content))
    return blake3(content[: found.eof] if found is not None else content).digest()
