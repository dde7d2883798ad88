"""Crash a store in a hundred thousand ways, and its disk at every call.

    python -m tests.campaigns.crash_states --states 100000 --seed 1 --jobs 2

Real captures, commits, prunings, compactions and recoveries run over the simulated disk of
`vh5d.testing.faults`. Each is recorded once; the states that power cuts and kills might leave are
made from the record, at every operation, and in the recovery from them at every operation again.
Then each meets an error at every call, once and from then on. Every store must be as before or as
after, verified, and as after once that was acknowledged. Exits with 1 if one is not; what failed is
tried again with ``--reproduce`` and its line.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from tests.support.crash_scenes import SCENES, scratch
from tests.support.crash_trials import Tally, Trials
from vh5d.testing.faults import KILLED

THEN = (0, 1, 6)
# Most of the states of one operation differ when chance decides; few of its recovery do.
CRASHES, CRASHES_AGAIN = 40, 2
FAULTS_A_UNIT = 50


@dataclass(frozen=True)
class Unit:
    """Work for one process at a time."""

    mode: str
    scene: str
    step: int
    part: int = 0
    parts: int = 1
    then: tuple[int, ...] = THEN


def units_of_round(number: int, shapes: dict[str, int]) -> Iterator[Unit]:
    """Crashes at every operation; each round draws other states."""
    for scene, steps in shapes.items():
        for step in range(steps):
            yield Unit("crash", scene, step, number)
            yield Unit("again", scene, step, number)
            if number == 0:
                yield Unit("retry", scene, step)


def units_of_faults(
    faults: dict[tuple[str, int], int], share: float, then: tuple[int, ...]
) -> Iterator[Unit]:
    """An error at every call, or at a share of them; then the power goes in some ways."""
    for (scene, step), count in faults.items():
        parts = max(1, -(-count // FAULTS_A_UNIT))
        for part in range(max(1, round(parts * share))):
            yield Unit("fail", scene, step, part, parts, then)


class Worker:
    """What a process keeps from one unit to the next: recordings of the scenes."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = Path(tempfile.mkdtemp(dir=root)), seed
        self.trials: dict[str, Trials] = {}
        self.where = os.open(self.root / "where", os.O_RDWR | os.O_CREAT)
        self.unit: object = None

    def note(self, label: str) -> None:
        """Say what is tried next where it can be read if the process dies of it."""
        text = f"{self.unit}: {label}".encode()
        os.pwrite(self.where, text.ljust(400)[:400], 0)

    def trials_of(self, scene: str) -> Trials:
        if scene not in self.trials:
            directory = Path(tempfile.mkdtemp(dir=self.root))
            self.trials[scene] = Trials(scene, directory, seed=self.seed, where=self.note)
        return self.trials[scene]

    def run(self, unit: Unit) -> Tally:
        self.unit = unit
        trials = self.trials_of(unit.scene)
        trials.tally = Tally()
        span, part = trials.spans[unit.step], unit.part
        killed = [KILLED] if part == 0 else []
        if unit.mode == "crash":
            trials.crash(span, [*killed, *range(part * CRASHES, (part + 1) * CRASHES)])
        elif unit.mode == "again":
            choices = range(part * CRASHES_AGAIN, (part + 1) * CRASHES_AGAIN)
            trials.crash_again(span, [*killed, *choices], range(part * 3, part * 3 + 3))
        elif unit.mode == "retry":
            trials.crash_again(span, [KILLED], (0, 1, 6), retry=True)
        else:
            trials.fail(span, trials.faults(span)[part :: unit.parts], unit.then)
        return trials.tally

    def shape(self, scene: str) -> tuple[int, dict[tuple[str, int], int]]:
        """How many steps a scene has, and how many faults each can meet."""
        self.unit = "recording"
        trials = self.trials_of(scene)
        counts = {(scene, span.number): len(trials.faults(span)) for span in trials.spans}
        return len(trials.spans), counts


_worker: list[Worker] = []


def _start(root: Path, seed: int) -> None:
    _worker.append(Worker(root, seed))


def _run(unit: Unit) -> Tally:
    return _worker[0].run(unit)


def _shape(scene: str) -> tuple[int, dict[tuple[str, int], int]]:
    return _worker[0].shape(scene)


class Campaign:
    """Units over processes, which may die."""

    def __init__(self, root: Path, seed: int, jobs: int) -> None:
        self.root, self.seed, self.jobs = root, seed, jobs
        self.tally = Tally()
        self.pool = self._make_pool()

    def _make_pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            self.jobs, mp_context=context, initializer=_start, initargs=(self.root, self.seed)
        )

    def run(self, units: Sequence[Unit]) -> None:
        """Do them all; a process that dies is a failure, and others go on."""
        left = list(units)
        while left:
            running: dict[Future[Tally], Unit] = {}
            try:
                while left or running:
                    while left and len(running) < 2 * self.jobs:
                        unit = left.pop()
                        running[self.pool.submit(_run, unit)] = unit
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        self.tally.add(future.result())
                        del running[future]
            except BrokenProcessPool:
                self._bury()

    def _bury(self) -> None:
        notes = [path.read_text().strip() for path in self.root.glob("*/where")]
        self.tally.failures.append("a process died at one of:\n" + "\n".join(notes))
        self.pool = self._make_pool()

    def shapes(self, scenes: Sequence[str]) -> tuple[dict[str, int], dict[tuple[str, int], int]]:
        """Steps and faults of scenes."""
        steps: dict[str, int] = {}
        faults: dict[tuple[str, int], int] = {}
        for scene, (count, each) in zip(scenes, self.pool.map(_shape, scenes), strict=True):
            steps[scene] = count
            faults |= each
        return steps, faults

    @property
    def distinct(self) -> int:
        return sum(map(len, self.tally.distinct.values()))


def report(tally: Tally, seconds: float) -> str:
    """The figures."""
    lines = [f"{'crash states':<24}{'tried':>10}{'distinct':>10}"]
    for kind in sorted(tally.tried):
        distinct = len(tally.distinct.get(kind, ()))
        lines.append(f"  {kind:<22}{tally.tried[kind]:>10,}{distinct:>10,}")
    distinct = sum(map(len, tally.distinct.values()))
    lines.append(f"  {'together':<22}{tally.tried.total():>10,}{distinct:>10,}")
    lines.append("injected errors")
    lines += [f"  {kind:<32}{count:>10,}" for kind, count in sorted(tally.errors.items())]
    lines.append(f"  {'together':<32}{tally.errors.total():>10,}")
    lines += [f"{outcome:<34}{count:>10,}" for outcome, count in sorted(tally.outcomes.items())]
    lines.append(f"{'failures':<34}{len(tally.failures):>10,}")
    lines.append(f"{'seconds':<34}{seconds:>10,.0f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=100_000, help="distinct crash states to try")
    parser.add_argument("--faults", type=float, default=1.0, help="share of the errors to inject")
    parser.add_argument(
        "--then",
        type=int,
        choices=range(len(THEN) + 1),
        default=len(THEN),
        help="power cuts drawn at each operation after an error; 0: only recovery, and once more",
    )
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--reproduce", metavar="LINE", help="MODE SCENE/STEP/…, as it was printed")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    with scratch() as root:
        if options.reproduce:
            tally = reproduce(root, options.reproduce, options.seed)
        else:
            tally = run(root, options)
    print(report(tally, time.monotonic() - started))
    for failure in tally.failures[:20]:
        print(f"\nFAILED: {failure}", file=sys.stderr)
    return 1 if tally.failures else 0


def run(root: Path, options: argparse.Namespace) -> Tally:
    """The campaign."""
    campaign = Campaign(root, options.seed, options.jobs)
    steps, faults = campaign.shapes(options.scenes)
    number = 0
    while campaign.distinct < options.states and len(campaign.tally.failures) < 100:
        campaign.run(list(units_of_round(number, steps)))
        number += 1
        print(f"seed {options.seed}, round {number}: {campaign.distinct:,} states", flush=True)
    campaign.run(list(units_of_faults(faults, options.faults, THEN[: options.then])))
    campaign.pool.shutdown()
    return campaign.tally


def reproduce(root: Path, line: str, seed: int) -> Tally:
    """One failure."""
    mode, label = line.split(" ", 1)
    worker = Worker(root, seed)
    trials = worker.trials_of(label.split("/")[0])
    trials.reproduce(mode, label.split(" (")[0].split(",")[0], range(40))
    return trials.tally


if __name__ == "__main__":
    sys.exit(main())
