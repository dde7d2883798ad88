"""Thirty days of a lab in less than an hour, on a clock that goes faster.

    python -m tests.campaigns.soak --days 30 --minutes 45

Detectors, scanners, simulations, streams (SWMR) and people write all day (`tests/support/lab.py`);
in the first half of the time processes of the service are killed; every night the stores are
thinned. Each state that an instrument left alone must get its version, no version may differ from
what was written, disk use must follow the retention, and from the middle on, when nothing is killed
any more, memory and open files must stay what they are. Exit status 1 if not; the seed is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import psutil

from tests.support.lab import Lab, instruments
from tests.support.lab_clock import LabClock
from tests.support.service import Up
from tests.support.waiting import wait_for
from vh5d.errors import VH5DError
from vh5d.policy.retention_settings import Retention
from vh5d.service.stores.thinning import thin
from vh5d.store.compact import compact
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

#: A Thursday; summer time begins within the thirty days where there is any.
OPENS = datetime(2026, 3, 12, 6, 0, tzinfo=UTC)
RETENTION = {"keep_last": 2, "keep_hourly": 12, "keep_daily": 7, "keep_weekly": 3}
KILLED = ("worker", "capture", "watch", "broker", "up")
#: Days between two kills.
KILL_EVERY = 0.6
ROLES = ("up", "watch", "worker", "broker")
#: What memory may grow by from the third quarter to the last: bytes, and part of it.
GROWTH = (8 << 20, 0.1)
#: Open files that a process may have more.
MORE_FILES = 4
#: What thinned stores may take on the disk, in terms of what they take rewritten.
SLACK = 1.6


@dataclass(frozen=True)
class Sample:
    """How the service was at some moment."""

    day: float
    files: int
    stores: int
    versions: int
    source_bytes: int
    store_bytes: int
    memory: dict[str, int]
    handles: dict[str, int]
    captures: int


@dataclass
class Figures:
    """What came of it."""

    seed: int
    days: float
    seconds: float = 0.0
    kept: int = 0
    written: int = 0
    waits: list[float] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    nights: int = 0
    samples: list[Sample] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def summary(self) -> Iterator[str]:
        cuts = quantiles(self.waits, n=100) if len(self.waits) > 1 else [0.0] * 99
        yield f"seed {self.seed}: {self.days:g} days in {self.seconds / 60:.1f} minutes"
        yield f"states left alone and kept: {self.kept}, missed: {len(self.losses)}"
        yield f"until kept: median {cuts[49]:.2f} s, 99 % {cuts[98]:.2f} s"
        yield f"killed: {dict(self.kills)}"
        yield f"nights: {self.nights}, versions dropped: {self.dropped}"
        yield (
            f"{'day':>5} {'files':>6} {'versions':>8} {'sources':>9} {'stores':>9}  "
            + "  ".join(f"{role:>6} MiB/files" for role in ROLES)
        )
        for each in self.samples:
            yield (
                f"{each.day:5.1f} {each.files:6} {each.versions:8} {each.source_bytes >> 20:5} MiB "
                f"{each.store_bytes >> 20:5} MiB  "
                + "  ".join(
                    f"{each.memory.get(role, 0) >> 20:10}/{each.handles.get(role, 0):<5}"
                    for role in ROLES
                )
            )
        yield from (f"LOSS {loss}" for loss in self.losses)


class Soak:
    """A lab, the service that keeps its files, and what watches both."""

    def __init__(self, directory: Path, days: float, seconds: float, seed: int) -> None:
        self.figures = Figures(seed, days)
        self.random = random.Random(seed)
        self.clock = LabClock.starting_now(OPENS, days * 86400 / seconds)
        data = directory / "data"
        data.mkdir()
        self.directory = directory
        self.lab = Lab(data, self.clock, days, seed)
        common = {"watch": str(data), "settle": "200ms", "retention": RETENTION}
        stream = {"include": ["stream/*.h5"], "while_open": "swmr", "swmr_interval": "1s"}
        policies = [{"name": "streams", **common, **stream}, {"name": "lab", **common}]
        self.up = Up(data, directory)
        self.up.program = ("tests.campaigns.soak_service", json.dumps(self.clock.told()))
        self.up.config.write_text(json.dumps({"policies": policies, "maintenance": "02:30"}))
        self.sampled = -1.0

    def run(self) -> Figures:
        began = time.monotonic()
        self.up.start()
        try:
            self.open_and_close()
        finally:
            self.lab.closing.set()
            self.up.kill()
        self.figures.seconds = time.monotonic() - began
        return self.figures

    def open_and_close(self) -> None:
        working = instruments(self.lab)
        for each in working:
            each.start()
        self.watch_over(working)
        self.lab.closing.set()
        for each in working:
            each.join(self.lab.patience + 30)
            if each.is_alive():
                self.figures.losses.append(f"{each.name} hangs")
        self.figures.losses += [repr(error) for error in self.lab.errors]
        self.close()

    def watch_over(self, working: list[threading.Thread]) -> None:
        """Kill in the first half, take samples, until the lab closes."""
        days, next_kill = self.figures.days, KILL_EVERY
        every = max(0.25, days / 30)
        while any(each.is_alive() for each in working) and self.clock.day < days:
            if self.clock.day >= next_kill and self.clock.day < days / 2:
                self.kill(self.random.choice(KILLED))
                next_kill = self.clock.day + KILL_EVERY
            if self.clock.day - self.sampled >= every:
                self.sampled = self.clock.day
                self.sample()
            time.sleep(min(0.5, self.clock.seconds_until(self.clock.day + every / 4)))

    def kill(self, role: str) -> None:
        if role == "up":
            self.up.kill()
            self.up.start()
        else:
            child = self.up.child("worker" if role == "capture" else role)
            if child is None:
                return  # starts again after the last one
            victims = child.children() if role == "capture" else [child]
            if not victims:
                return
            self.random.choice(victims).kill()
        self.figures.kills[role] += 1

    def stores(self) -> list[Path]:
        return [
            path
            for path in self.lab.data.glob(".vh5d/**/*.h5")
            if path.is_file() and not path.name.startswith(".")
        ]

    def sample(self) -> None:
        memory, handles = {}, {}
        for role in ROLES:
            found = self.up.child(role) if role != "up" else self._own()
            try:
                if found is not None:
                    memory[role], handles[role] = found.memory_info().rss, found.num_fds()
            except psutil.NoSuchProcess:
                continue
        files = [p for p in self.lab.data.glob("**/*.h5") if ".vh5d" not in p.parts]
        stores = self.stores()
        self.figures.samples.append(
            Sample(
                day=self.clock.day,
                files=len(files),
                stores=len(stores),
                versions=sum(len(self.versions(store)) for store in stores),
                source_bytes=sum(_size(path) for path in files),
                store_bytes=sum(_taken(path) for path in stores),
                memory=memory,
                handles=handles,
                captures=len(self.up.said("version")),
            )
        )
        print(list(self.figures.summary())[6 + len(self.figures.samples) - 1], flush=True)

    def _own(self) -> psutil.Process | None:
        assert self.up.process is not None
        return psutil.Process(self.up.process.pid)

    def versions(self, store: Path) -> list[str]:
        try:
            with open_store(store) as reader:
                return [version.name for version in reader.versions]
        except VH5DError:  # at work, or on its way to the archive
            return []

    def close(self) -> None:
        """The last count: everything quiet, thinned, and looked at."""
        figures, lab = self.figures, self.lab
        wait_for(lambda: not any(self.up.status()["queue"].values()), "the queue", timeout=120)
        ended = self.up.said("maintained")
        figures.nights = max(Counter(each["policy"] for each in ended).values(), default=0)
        figures.dropped = sum(each["versions"] for each in ended)
        if self.up.stop() != 0:
            figures.losses.append("the service did not end as it should")
        figures.kept, figures.waits, figures.written = lab.kept, lab.waits, lab.written
        figures.losses += [f"missed: {each}" for each in lab.missed]
        figures.losses += [f"{each} was not thinned" for each in self.nights_missed(ended)]
        figures.losses += self.wrong()
        figures.losses += self.not_thinned()
        figures.losses += list(self.growth())

    def nights_missed(self, ended: list[dict[str, object]]) -> list[str]:
        nights = int(self.figures.days) - 1
        return [
            name
            for name in ("lab", "streams")
            if sum(each["policy"] == name for each in ended) < nights
        ]

    def not_thinned(self) -> list[str]:
        """Stores that keep what retention does not, or that give no space back."""
        problems, taken, needed = [], 0, 0
        rules = Retention(**RETENTION)
        for store in self.stores():
            thin(store, rules, now=self.clock())
            if len(self.versions(store)) > sum(RETENTION.values()) + len(RETENTION):
                problems.append(f"{store}: {len(self.versions(store))} versions after thinning")
            taken += _taken(store)
            needed += compact(store).bytes_after
        print(f"stores take {taken >> 10} KiB, rewritten {needed >> 10} KiB")
        if taken > SLACK * needed:
            problems.append(f"stores take {taken} bytes, rewritten they would take {needed}")
        return problems

    def growth(self) -> Iterator[str]:
        """Memory and open files that grew while nothing was killed."""
        half = [each for each in self.figures.samples if each.day > self.figures.days / 2]
        early, late = half[: len(half) // 2], half[len(half) // 2 :]
        if len(early) < 3:
            return
        for role in ROLES:
            before = median(each.memory.get(role, 0) for each in early)
            after = median(each.memory.get(role, 0) for each in late)
            print(f"{role}: {before / 2**20:.1f} MiB, then {after / 2**20:.1f} MiB")
            if after - before > max(GROWTH[0], GROWTH[1] * before):
                yield f"the memory of {role} grew from {before:.0f} to {after:.0f} bytes"
            files = [median(each.handles.get(role, 0) for each in part) for part in (early, late)]
            if files[1] > files[0] + MORE_FILES:
                yield f"the open files of {role} became {files[1]:.0f}, from {files[0]:.0f}"

    def wrong(self) -> list[str]:
        """Stores that do not verify."""
        return [f"{store}: {each}" for store in self.stores() for each in verify(store).problems]


def _taken(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def run(days: float, seconds: float, seed: int, directory: Path) -> Figures:
    return Soak(directory, days, seconds, seed).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AS_IT_IS)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        figures = run(options.days, options.minutes * 60, options.seed, Path(directory))
    print("\n".join(figures.summary()))
    sys.exit(1 if figures.losses else 0)


_AS_IT_IS = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
