"""Captures of files that are being written: is any of them a state that the file never had?

    python -m tests.campaigns.torn_captures --captures 10000

A writer, a process of its own, counts: it writes the next number into every chunk of a file, chunk
after chunk, in place and at once, with random pauses, without end. So at every moment the chunks
hold a number up to some chunk, and the one before from there on. A capture that mixes two moments
holds something else.

open
    The writer keeps the file open; captures are forced (`vh5d snapshot --busy`).
closed
    It opens and closes the file for each number; captures are as the service makes them, and only
    whole numbers may be in a version.
service
    The same with `vh5d up`.

Exit status 1 if any version is torn; the seed is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from tests.support.service import ROOT, Up, run_vh5d
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.capture.restore import restore
from vh5d.errors import SourceError
from vh5d.hdf5.source_file import SourceFile
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

CHUNKS, LENGTH = 24, 512
#: One capture in so many is made by the command line.
BY_COMMAND = 200
#: Versions in a store before it is checked and the next begins.
VERSIONS = 100
#: Seconds to write a number, at the longest, and to rest after it.
HASTE, REST = 0.02, 0.25


@dataclass
class Figures:
    attempted: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    partial: int = 0
    torn: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        self.attempted += other.attempted
        self.kept += other.kept
        self.partial += other.partial
        self.torn += other.torn

    def summary(self) -> str:
        def by_mode(counts: Counter[str]) -> str:
            return ", ".join(f"{mode} {n}" for mode, n in sorted(counts.items()))

        return (
            f"captures attempted: {self.attempted.total()} ({by_mode(self.attempted)})\n"
            f"versions kept and checked: {self.kept.total()} ({by_mode(self.kept)}), "
            f"{self.partial} of them between two numbers\n"
            f"torn: {len(self.torn)}"
        )


def write(path: Path, seed: int, mode: str) -> None:
    """Count in a file for as long as whoever started this lives."""
    chance = random.Random(seed)
    number, parent = 0, os.getppid()
    while os.getppid() == parent:
        with h5py.File(path, "r+") as file:
            dataset = file["numbers"]
            while True:
                number += 1
                count(dataset, number, chance)
                time.sleep(chance.uniform(0, REST))
                if mode != "open" or number % 100 == 0:
                    break
        time.sleep(chance.uniform(0, REST))


def count(dataset: h5py.Dataset, number: int, chance: random.Random) -> None:
    content = np.full(LENGTH, number, "<i8").tobytes()
    pause = chance.choice([0.0, chance.uniform(0, HASTE / CHUNKS)])
    for chunk in range(CHUNKS):
        dataset.id.write_direct_chunk((chunk * LENGTH,), content)
        if pause:
            time.sleep(pause)


def make(path: Path, libver: str) -> None:
    with h5py.File(path, "w", libver=libver) as file:
        dataset = file.create_dataset("numbers", (CHUNKS * LENGTH,), "<i8", chunks=(LENGTH,))
        count(dataset, 0, random.Random(0))


@contextlib.contextmanager
def writer(path: Path, seed: int, mode: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.campaigns.torn_captures", "--write", str(path)]
    process = subprocess.Popen([*command, "--seed", str(seed), "--mode", mode], cwd=ROOT)
    try:
        yield
        assert process.poll() is None, "the writer ended by itself"
    finally:
        process.kill()
        process.wait()


def check(store: Path, mode: str, figures: Figures) -> None:
    """Look at every version of a store, in its tree and as it is restored."""
    if not store.exists():
        return
    problems = verify(store).problems
    figures.torn += [f"{store}: {each.message}" for each in problems]
    with open_store(store) as reader:
        names = [version.name for version in reader.versions]
        trees = {
            version.name: reader.file[f"_version_data/versions/{version.name}/numbers"][()]
            for version in reader.versions
            if version.kept_as == "tree"
        }
    for name in names:
        restore(store, name, store.with_suffix(".back"), overwrite=True)
        # Not by name: a file that was open is still marked as being written.
        with SourceFile(store.with_suffix(".back")) as source, h5py.File(source, "r") as file:
            numbers = file["numbers"][()]
        if name not in trees:
            figures.torn.append(f"{store} {name}: kept by its bytes, {chunks_of(numbers)}")
        elif not np.array_equal(numbers, trees[name]):
            figures.torn.append(f"{store} {name}: the tree differs from the bytes")
        whole = judge(numbers)
        if whole is None or (mode != "open" and not whole):
            figures.torn.append(f"{store} {name}: {chunks_of(numbers)}")
        figures.partial += whole is False
        figures.kept[mode] += 1


def judge(numbers: np.ndarray) -> bool | None:
    """Whether one number fills it; None: it is no state that the file ever had."""
    chunks = numbers.reshape(CHUNKS, LENGTH)
    if not (chunks == chunks[:, :1]).all():
        return None
    steps = np.diff(chunks[:, 0])
    if not steps.any():
        return True
    return False if (steps <= 0).all() and steps.sum() == -1 else None


def chunks_of(numbers: np.ndarray) -> list[list[int]]:
    return [sorted({int(each) for each in chunk}) for chunk in numbers.reshape(CHUNKS, LENGTH)]


def directly(home: Path, mode: str, captures: int, seed: int) -> Figures:
    """Capture a file, one attempt after the other."""
    figures, chance = Figures(), random.Random(seed)
    path = home / f"{mode}.h5"
    make(path, chance.choice(["earliest", "latest"]))
    options = CaptureOptions(busy="try" if mode == "open" else "refuse")
    stores = 0
    with writer(path, seed, mode):
        while figures.attempted[mode] < captures:
            store = home / f"{mode}{stores}.store"
            stores += 1
            made = 0
            while made < VERSIONS and figures.attempted[mode] < captures:
                figures.attempted[mode] += 1
                made += attempt(path, store, options, by_command=chance.random() < 1 / BY_COMMAND)
                time.sleep(chance.uniform(0, 0.01))
            check(store, mode, figures)
            store.unlink(missing_ok=True)
    return figures


def attempt(path: Path, store: Path, options: CaptureOptions, *, by_command: bool) -> bool:
    if by_command:
        busy = ["--busy"] if options.busy == "try" else []
        process = run_vh5d("snapshot", *busy, "--store", store, path)
        process.communicate(timeout=120)
        return process.returncode == 0
    try:
        return capture(path, store, options=options).changed
    except SourceError:
        return False  # it noticed


def by_service(home: Path, captures: int, seed: int, seconds: float) -> Figures:
    """Let a service capture four files; its attempts are those it tells of."""
    figures = Figures()
    data = home / "data"
    data.mkdir()
    paths = [data / f"{number}.h5" for number in range(4)]
    up = Up(data, home, settle="20ms")
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as writers:
        for number, path in enumerate(paths):
            make(path, ["earliest", "latest"][number % 2])
        up.start()
        writers.callback(up.kill)
        for number, path in enumerate(paths):
            writers.enter_context(writer(path, seed + number, "closed"))
        while figures.attempted["service"] < captures and time.monotonic() < deadline:
            time.sleep(0.2)
            figures.attempted["service"] = len(up.said("version")) + len(up.said("not now"))
        up.kill()  # before its writers: what they leave when they are killed is another matter
    for path in paths:
        check(data / ".vh5d" / path.name, "service", figures)
    if figures.torn:
        figures.torn += [json.dumps(each) for each in up.records if "warning" in each]
    return figures


def run(captures: int, seed: int, home: Path, *, service_seconds: float = 3600.0) -> Figures:
    """An eighth by the service, the rest half and half; two files of each at a time."""
    share = captures // 8
    total = Figures()
    with ThreadPoolExecutor(4) as pool:
        jobs = []
        for number in range(2):
            for mode, part in (("open", 4 * share), ("closed", 3 * share)):
                place = home / f"{mode}{number}"
                place.mkdir()
                jobs.append(pool.submit(directly, place, mode, -(-part // 2), seed + number))
        for job in jobs:
            total.add(job.result())
    (home / "service").mkdir()
    total.add(by_service(home / "service", share, seed, service_seconds))
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--captures", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write is not None:
        write(options.write, options.seed, options.mode)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="torn-") as directory:
        figures = run(options.captures, seed, Path(directory))
    print(figures.summary())
    for torn in figures.torn:
        print(f"TORN {torn}")
    return 1 if figures.torn else 0


if __name__ == "__main__":
    sys.exit(main())
