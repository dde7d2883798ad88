"""A lab: instruments that write, correct, rename and empty files all day, and wait to be kept.

Each instrument waits, after it has left a file alone, until that very state has a version; one
that does not get it in time is a state that was missed.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from tests.support.lab_clock import LabClock
from tests.support.truth import Truth, Written

FRAME = (32, 64)


class EndOfTheDay(Exception):  # noqa: N818 - not an error
    """The lab closes."""


@dataclass
class Lab:
    """What the instruments share.

    Parameters
    ----------
    data
        Where they write.
    clock
        The lab's time.
    patience
        The machine's seconds that a state may take to get its version.
    """

    data: Path
    clock: LabClock
    days: float
    seed: int
    patience: float = 120.0
    closing: threading.Event = field(default_factory=threading.Event)
    missed: list[str] = field(default_factory=list)
    kept: int = 0
    waits: list[float] = field(default_factory=list)
    written: int = 0
    errors: list[BaseException] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.truth = Truth(self.data)

    def sleep_until(self, day: float) -> None:
        """Until that day of the lab."""
        if day > self.days or self.closing.wait(self.clock.seconds_until(day)):
            raise EndOfTheDay

    def settle(self, paths: Iterable[Path]) -> None:
        """Wait until the states of these files, which nobody touches, have their versions."""
        states = [Written.of(path) for path in paths]
        since = time.monotonic()
        for state in states:
            self._settle(state, since)

    def _settle(self, state: Written, since: float) -> None:
        store = self.truth.store_of(state.path)
        seen: tuple[int, int] | None = None
        while True:
            now = _mark(store)
            if now is not None and now != seen:
                versions = self.truth.versions(state.path)
                if state.is_in(versions) is not None:
                    break
                seen = now if versions else None  # none: busy, look again
            if time.monotonic() - since > self.patience:
                self.missed.append(f"{state.path}: {state.size} bytes of {state.mtime_ns}")
                return
            time.sleep(0.05)
        with self._lock:
            self.kept += 1
            self.waits.append(time.monotonic() - since)


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


class Instrument(threading.Thread):
    """Works until the lab closes; `work` is one turn of it.

    Parameters
    ----------
    every
        Days of the lab between two turns.
    """

    def __init__(self, lab: Lab, name: str, every: float) -> None:
        super().__init__(name=name, daemon=True)
        self.lab, self.every = lab, every
        self.random = random.Random(f"{lab.seed} {name}")
        self.numbers = np.random.default_rng(self.random.randrange(2**32))
        self.turn = 0

    def run(self) -> None:
        try:
            while True:
                self.work()
                self.turn += 1
                # A turn that took too long leaves out the next, as a busy instrument does.
                now = self.lab.clock.day
                self.lab.sleep_until((now // self.every + 1) * self.every)
        except EndOfTheDay:
            return
        except BaseException as error:
            self.lab.errors.append(error)
            raise

    def work(self) -> None:
        raise NotImplementedError

    def frame(self) -> np.ndarray:
        return self.numbers.poisson(4.0, FRAME).astype(np.uint16)

    def append(self, path: Path, frames: int = 1) -> None:
        """As a program does that opens its file for each measurement."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "a") as file:
            if "frames" not in file:
                shape, most = (0, *FRAME), (None, *FRAME)
                file.create_dataset("frames", shape, "u2", maxshape=most, chunks=(1, *FRAME))
            dataset = file["frames"]
            for _ in range(frames):
                dataset.resize(len(dataset) + 1, axis=0)
                dataset[-1] = self.frame()
        self.lab.written += frames * int(np.prod(FRAME)) * 2

    @property
    def day(self) -> int:
        return int(self.lab.clock.day)


class Detector(Instrument):
    """Appends to the file of the day, every hour."""

    def work(self) -> None:
        path = self.lab.data / self.name / f"day{self.day:03}.h5"
        self.append(path, self.random.randint(1, 3))
        self.lab.settle([path])


class Scanner(Instrument):
    """A series of numbered files in a burst, and another the next day."""

    files = 24

    def work(self) -> None:
        first = self.turn * self.files
        scans = [self.lab.data / self.name / f"scan_{first + n:05}.h5" for n in range(self.files)]
        for scan in scans:
            self.append(scan)
        self.lab.settle(scans)


class Simulation(Instrument):
    """Writes a checkpoint beside the last one, and renames it over that."""

    def work(self) -> None:
        path = self.lab.data / self.name / "checkpoint.h5"
        beside = path.with_suffix(".tmp")
        beside.unlink(missing_ok=True)
        self.append(beside, 8)
        beside.replace(path)
        self.lab.settle([path])


class Mover(Instrument):
    """Finishes a file, moves it to the archive; the history goes along."""

    def work(self) -> None:
        path = self.lab.data / self.name / f"run{self.turn:04}.h5"
        archived = self.lab.data / "archive" / path.name
        self.append(path, 4)
        self.lab.settle([path])
        archived.parent.mkdir(exist_ok=True)
        path.rename(archived)
        self.append(archived)
        self.lab.settle([archived])
        if self.turn % 3 == 0:
            archived.unlink()


class Corrector(Instrument):
    """Rewrites what is there, copies over it, repacks it."""

    def work(self) -> None:
        path = self.lab.data / self.name / "calibrated.h5"
        if not path.exists():
            self.append(path, 12)
        self.random.choice([self.correct, self.copy_over])(path)
        self.lab.settle([path])

    def correct(self, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file["frames"][self.random.randrange(len(file["frames"]))] = self.frame()

    def copy_over(self, path: Path) -> None:
        other = path.with_suffix(".part")
        shutil.copy(path, other)
        self.correct(other)
        shutil.copyfile(other, path)
        other.unlink()


class Stream(Instrument):
    """Has a file open for most of a day, in SWMR mode, and appends to it all the time."""

    def work(self) -> None:
        path = self.lab.data / self.name / f"stream{self.turn:04}.h5"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w", libver="latest") as file:
            shape, most = (0, *FRAME), (None, *FRAME)
            dataset = file.create_dataset("frames", shape, "u2", maxshape=most, chunks=(1, *FRAME))
            file.swmr_mode = True
            begun = self.lab.clock.day
            for step in range(1, 19):
                dataset.resize(step, axis=0)
                dataset[-1] = self.frame()
                dataset.flush()
                self.lab.written += self.frame().nbytes
                self.lab.sleep_until(begun + step / 24)
        self.lab.settle([path])


def instruments(lab: Lab, only: Callable[[str], bool] = lambda _name: True) -> list[Instrument]:
    """Everything that stands in the lab."""
    hour = 1 / 24
    all_of_them = [
        *(Detector(lab, f"detector{n}", hour) for n in range(3)),
        Scanner(lab, "scanner", 1.0),
        Simulation(lab, "simulation", 4 * hour),
        Mover(lab, "mover", 6 * hour),
        Corrector(lab, "corrector", 2 * hour),
        Stream(lab, "stream", 1.0),
    ]
    return [each for each in all_of_them if only(each.name)]
