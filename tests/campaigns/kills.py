"""SIGKILL to every process of a running service, at random moments, under load.

    python -m tests.campaigns.kills --kills 1000 --services 3

Files are written all the while. After every few kills the writer pauses until each file's last
state has its version: these states are *settled*. In the end the service is started a last time,
and then every settled state and every version that a worker ever announced must be there, each
version must restore to a state the file really had, and each store must verify. Exit status 1 on
any loss; the seed is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.e2e.test_up import Instrument
from tests.support.service import Up
from tests.support.truth import Truth, Written
from vh5d.hdf5.locks import held_locks

ROLES = ("worker", "capture", "capture", "watch", "broker", "up")
FILES = 8
#: Kills between two pauses of the writer.
BURST = 12
#: Seconds to wait for a capture to begin before a kill.
LONGEST_AMBUSH = 1.5
#: Seconds that a settled state may take to get its version; a capture that was killed several
#: times waits up to a minute for its next attempt.
PATIENCE = 180.0


@dataclass
class Figures:
    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    during_captures: int = 0
    pauses: int = 0
    longest_wait: float = 0.0
    losses: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.kills.values())


class Writer(threading.Thread):
    """Changes files without end, except while it is asked to pause."""

    def __init__(self, instrument: Instrument, truth: Truth) -> None:
        super().__init__(name="writer", daemon=True)
        self.instrument, self.truth = instrument, truth
        self.turn = threading.Lock()
        self.done = threading.Event()
        self.last: dict[Path, Written] = {}
        self.paths = instrument.paths[:FILES]
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.done.is_set():
                with self.turn:
                    path = self.instrument.random.choice(self.paths)
                    self.instrument.change(path)
                    self.last[path] = self.truth.note(path)
                self.done.wait(self.instrument.random.uniform(0.01, 0.15))
        except BaseException as error:
            self.error = error
            raise


class Campaign:
    """Kills, pauses, and the last count."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.figures = Figures(seed)
        data = directory / "data"
        data.mkdir()
        self.directory = directory
        self.truth = Truth(data)
        self.writer = Writer(Instrument(data, seed), self.truth)
        self.up = Up(data, directory, settle="100ms")
        self.seen = 0
        self.said: Counter[str] = Counter()

    def run(self, kills: int, seconds: float) -> None:
        """Never raises: runs in a thread."""
        try:
            self.campaign(kills, seconds)
        except BaseException as error:  # noqa: BLE001 - a loss like any other
            self.figures.losses.append(f"the campaign itself failed: {error!r}")
            traceback.print_exc()

    def campaign(self, kills: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self.up.start()
        self.writer.start()
        try:
            while self.figures.total < kills and time.monotonic() < deadline:
                for _ in range(min(BURST, kills - self.figures.total)):
                    self.lie_in_wait()
                    self.kill(self.random.choice(ROLES))
                self.pause()
                print(f"seed {self.figures.seed}: {self.figures.total} kills", flush=True)
                if self.figures.losses:
                    break
            self.writer.done.set()
            self.writer.join(30)
            self.figures.losses += self.finish()
        finally:
            self.writer.done.set()
            self.up.kill()

    def lie_in_wait(self) -> None:
        """Until any moment, or until a random moment after a capture began."""
        if self.random.random() < 0.3:
            time.sleep(self.random.expovariate(5.0))
            return
        deadline = time.monotonic() + LONGEST_AMBUSH
        while not self.capturing() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(self.random.uniform(0, 0.05))

    def capturing(self) -> bool:
        """Whether somebody has the lock of a store."""
        locked = {(lock.device, lock.inode) for lock in held_locks() if lock.exclusive}
        for path in self.truth.data.glob(".vh5d/**/*.lock"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if (stat.st_dev, stat.st_ino) in locked:
                    return True
        return False

    def kill(self, role: str) -> None:
        busy = self.capturing()
        if role == "up":
            assert self.up.process is not None
            self.up.process.kill()
            self.up.process.wait()
            self.up.start()
        else:
            victim = self.victim(role)
            if victim is None:
                return
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                return
        self.figures.kills[role] += 1
        self.figures.during_captures += busy

    def victim(self, role: str) -> psutil.Process | None:
        if role != "capture":
            return self.up.child(role)
        worker = self.up.child("worker")
        if worker is None:
            return None
        try:
            children = worker.children()
        except psutil.NoSuchProcess:
            return None
        return self.random.choice(children) if children else None

    def pause(self) -> None:
        """Let every file come to rest and get its version, whatever was killed before."""
        with self.writer.turn:
            began = time.monotonic()
            states = [
                self.writer.last[path] for path in self.writer.paths if path in self.writer.last
            ]
            for state in states:
                if not self.arrives(state, began + PATIENCE):
                    self.figures.losses.append(f"{state.path}: not kept after {PATIENCE} s")
            self.truth.settled += states
            self.figures.pauses += 1
            self.figures.longest_wait = max(self.figures.longest_wait, time.monotonic() - began)
        self.listen()
        if self.writer.error is not None:
            raise self.writer.error

    def arrives(self, state: Written, deadline: float) -> bool:
        while state.is_in(self.truth.versions(state.path)) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def listen(self) -> None:
        """Note what workers announced."""
        records, self.seen = self.up.records[self.seen :], len(self.up.records)
        for record in records:
            self.said[record["event"]] += 1
            if record["event"] == "version":
                self.truth.acknowledged[Path(record["path"])].add(record["version"])

    def finish(self) -> list[str]:
        self.up.kill()
        self.up.start()
        self.pause()
        problems = [] if self.up.stop() == 0 else ["the last stop was not in order"]
        self.listen()
        left = [path for path in self.truth.data.rglob("*") if ".journal" in path.name]
        problems += [f"left behind: {path}" for path in left]
        return problems + self.truth.losses(self.directory)

    def summary(self) -> str:
        figures, truth = self.figures, self.truth
        states = sum(len(each) for each in truth.states.values())
        versions = sum(len(truth.versions(path)) for path in truth.states)
        announced = sum(len(each) for each in truth.acknowledged.values())
        by_role = ", ".join(f"{role} {n}" for role, n in sorted(figures.kills.items()))
        return (
            f"seed: {figures.seed}\n"
            f"kills: {figures.total} ({by_role}), "
            f"{figures.during_captures} of them while a store was being written\n"
            f"states written: {states}; settled: {len(truth.settled)} in {figures.pauses} pauses\n"
            f"versions: {versions}, each restored and compared; announced: {announced}\n"
            f"captures cut short: {self.said['a capture ended its process']}; "
            f"interrupted commits found by the next: {self.said['to be noted']}\n"
            f"longest wait for a settled state: {figures.longest_wait:.1f} s\n"
            f"losses: {len(figures.losses)}"
        )


def run(kills: int, services: int, seconds: float, seed: int, directory: Path) -> list[Campaign]:
    """So many services at once, each with its part of the kills and its own seed."""
    campaigns = []
    for number in range(services):
        home = directory / str(number)
        home.mkdir()
        campaigns.append(Campaign(home, seed + number))
    share = -(-kills // services)
    threads = [
        threading.Thread(target=campaign.run, args=(share, seconds)) for campaign in campaigns
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return campaigns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=1000, help="in all")
    parser.add_argument("--services", type=int, default=3, help="at the same time")
    parser.add_argument("--seconds", type=float, default=7200.0, help="end after so long")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kills-") as directory:
        campaigns = run(options.kills, options.services, options.seconds, seed, Path(directory))
        for campaign in campaigns:
            print(campaign.summary())
            for loss in campaign.figures.losses:
                print(f"LOSS {loss}")
            if campaign.figures.losses:
                records = Path(tempfile.gettempdir(), f"kills-{campaign.figures.seed}.log")
                records.write_text(campaign.up.dump())
                print(f"what the service said: {records}")
    losses = sum(len(campaign.figures.losses) for campaign in campaigns)
    print(f"kills: {sum(each.figures.total for each in campaigns)}, losses: {losses}")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
