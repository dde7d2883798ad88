"""What `VersionedHDF5File` takes, beside versioned-hdf5 and plain h5py.

    python benchmarks/versions.py             # some minutes
    python benchmarks/versions.py --quick     # small numbers, to see that it runs

In one process, everybody in turn: a chunk changed among many, a first version, reading, opening,
a long history of small appends, thinning it. README.md has the details.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import h5py
import numpy as np

import vh5d

CHUNK = 256  # elements of 8 bytes
APPENDED = 10  # elements a version
HISTORY_CHUNK = 4096
READS = 12  # of the whole; the pages of the result are new to the process the first time


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    chunks: tuple[int, ...] = (1000, 8000, 32_000)
    reads: int = 1000
    versions: int = 2000
    thinned: tuple[int, int] = (1000, 100)
    thinned_chunks: int = 4000
    rounds: int = 3


QUICK = Sizes((60, 200), 50, 40, (20, 5), 40, 1)


class Contestant:
    """One way to keep versions in an HDF5 file."""

    name: ClassVar[str]

    @contextmanager
    def open(self, path: Path, mode: str) -> Iterator[Any]:
        """Open a file of versions."""
        with h5py.File(path, mode) as file:
            yield self.versioned(file)

    def versioned(self, file: h5py.File) -> Any:
        """Return the versions of an open file."""
        raise NotImplementedError

    def delete(self, path: Path, names: list[str]) -> None:
        """Delete versions of a file."""
        raise NotImplementedError

    def take_over(self, store: Path, path: Path) -> None:
        """Make a file with the history of a store of vh5d."""
        shutil.copy(store, path)


class Ours(Contestant):
    """vh5d on an h5py.File, as versioned-hdf5 is used."""

    name = "vh5d, h5py.File"

    def versioned(self, file: h5py.File) -> Any:
        """Return the versions of an open file."""
        return vh5d.VersionedHDF5File(file)

    def delete(self, path: Path, names: list[str]) -> None:
        """Delete versions of a file."""
        with h5py.File(path, "r+") as file:
            vh5d.delete_versions(file, names)


class OursDurable(Contestant):
    """`vh5d.open`: every commit is durable, as a whole or not at all."""

    name = "vh5d.open"

    @contextmanager
    def open(self, path: Path, mode: str) -> Iterator[Any]:
        """Open a file of versions."""
        with vh5d.open(path, mode) as versioned:
            yield versioned

    def delete(self, path: Path, names: list[str]) -> None:
        """Delete versions of a file."""
        vh5d.delete_versions(path, names)


class Theirs(Contestant):
    """versioned-hdf5."""

    name = "versioned-hdf5"

    def __init__(self) -> None:
        self.module = import_module("versioned_hdf5")

    def versioned(self, file: h5py.File) -> Any:
        """Return the versions of an open file."""
        return self.module.VersionedHDF5File(file)

    def delete(self, path: Path, names: list[str]) -> None:
        """Delete versions of a file."""
        with h5py.File(path, "r+") as file:
            self.module.delete_versions(file, names)

    def take_over(self, store: Path, path: Path) -> None:
        """Make a file with the history of a store of vh5d."""
        vh5d.export_file(store, path)


@dataclass
class Findings:
    """Seconds, or bytes, by what was measured and by whom; the best of the rounds."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    nbytes: dict[str, dict[str, int]] = field(default_factory=dict)

    def timed(self, what: str, who: str, action: Callable[[], Any]) -> Any:
        """Time something; return what it returns."""
        gc.collect()
        started = time.perf_counter()
        result = action()
        self.add(what, who, time.perf_counter() - started)
        return result

    def add(self, what: str, who: str, seconds: float) -> None:
        """Note a time."""
        self.seconds.setdefault(what, {}).setdefault(who, []).append(seconds)

    def size(self, what: str, who: str, nbytes: int) -> None:
        """Note a size."""
        self.nbytes.setdefault(what, {})[who] = nbytes


PLAIN = "plain h5py"


class Benchmark:
    """Measures everybody in turn.

    Parameters
    ----------
    directory
        Where to work.
    contestants
        Who is measured.
    sizes
        How much.
    seed
        Of what is changed and read.
    """

    def __init__(
        self, directory: Path, contestants: Sequence[Contestant], sizes: Sizes, seed: int
    ) -> None:
        self.directory, self.contestants, self.sizes = directory, contestants, sizes
        self.seed = seed
        self.found = Findings()

    def run(self) -> None:
        """Measure everything."""
        for chunks in self.sizes.chunks:
            for number in range(self.sizes.rounds):
                say(f"{chunks} chunks, round {number + 1}")
                with self._plain(chunks) as plain:
                    for each in self._in_turn(number):
                        beside = plain if each is self.contestants[0] else None
                        self._array(each, chunks, number, beside)
        for each in self.contestants:
            say(f"{self.sizes.versions} versions: {each.name}")
            self._history(each)
        for each in self.contestants:
            say(f"thinning {self.sizes.thinned[0]} versions: {each.name}")
            self._thinning(each)

    def _in_turn(self, number: int) -> list[Contestant]:
        turn = number % len(self.contestants)
        return [*self.contestants[turn:], *self.contestants[:turn]]

    def _path(self, name: str) -> Path:
        path = self.directory / f"{name}.h5"
        path.unlink(missing_ok=True)
        return path

    # One array of many chunks

    @contextmanager
    def _plain(self, chunks: int) -> Iterator[h5py.Dataset]:
        data, path = array_of(chunks), self._path("plain")
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=data, chunks=(CHUNK,), maxshape=(None,))
        with h5py.File(path) as file:
            self._random_reads(PLAIN, chunks, file["data"], data)
            yield file["data"]
        path.unlink()

    def _array(self, who: Contestant, chunks: int, number: int, plain: h5py.Dataset | None) -> None:
        data, path = array_of(chunks), self._path("array")

        def first() -> None:
            with who.open(path, "w") as versioned, versioned.stage_version("v1") as group:
                group.create_dataset("data", data=data, chunks=(CHUNK,), maxshape=(None,))

        def change() -> None:
            with who.open(path, "r+") as versioned, versioned.stage_version("v2") as group:
                group["data"][place] = -1

        place = random.Random(self.seed + number).randrange(len(data))
        self.found.timed(f"first version of {chunks} chunks", who.name, first)
        before = path.stat().st_size
        self.found.size(f"file with {chunks} chunks", who.name, before)
        self.found.timed(f"1 chunk of {chunks} changed", who.name, change)
        self.found.size(f"1 chunk of {chunks} changed", who.name, path.stat().st_size - before)
        data[place] = -1

        def open_and_look() -> None:
            with who.open(path, "r") as versioned:
                assert versioned["v2"]["data"].shape == data.shape

        self.found.timed(f"open, {chunks} chunks", who.name, open_and_look)
        with who.open(path, "r") as versioned:
            self._read(who.name, chunks, lambda: versioned["v2"]["data"], data, plain)
        path.unlink()

    def _read(
        self,
        who: str,
        chunks: int,
        find: Callable[[], Any],
        data: Any,
        plain: h5py.Dataset | None,
    ) -> None:
        dataset, what = find(), f"full read, {chunks} chunks"
        read = self.found.timed(what, who, lambda: dataset[()])
        for _ in range(READS):
            if plain is not None:  # in turn with the one that is compared with it
                self.found.timed(what, PLAIN, lambda: plain[()])
            self.found.timed(what, who, lambda: dataset[()])
        if not np.array_equal(read, data):
            sys.exit(f"{who}: what was read is not what was written")
        self._random_reads(who, chunks, dataset, data)

    def _random_reads(self, who: str, chunks: int, dataset: Any, data: Any) -> None:
        chosen = random.Random(self.seed)
        places = [chosen.randrange(len(data)) for _ in range(self.sizes.reads)]
        what = f"{self.sizes.reads} random reads, {chunks} chunks"
        values = self.found.timed(what, who, lambda: [dataset[place] for place in places])
        if values != data[places].tolist():
            sys.exit(f"{who}: what was read is not what was written")

    # A long history

    def _history(self, who: Contestant) -> None:
        path, count = self._path("history"), self.sizes.versions
        times = self._append(who, path, count)
        for at in milestones(count):
            around = times[max(0, at - 3) : at + 2]
            self.found.add(f"version {at} of small appends", who.name, median(around))
        self.found.add(f"all {count} versions of small appends", who.name, sum(times))
        self.found.size(f"file with {count} versions", who.name, path.stat().st_size)

        def look() -> None:
            with who.open(path, "r") as versioned:
                versioned[f"v{count - 1}"]["data"][0]

        self.found.timed(f"open, {count} versions", who.name, look)
        path.unlink()

    def _append(self, who: Contestant, path: Path, count: int) -> list[float]:
        times = []
        with who.open(path, "w") as versioned:
            for number in range(count):
                started = time.perf_counter()
                with versioned.stage_version(f"v{number}") as group:
                    self._grow(group, number)
                times.append(time.perf_counter() - started)
        return times

    def _grow(self, group: Any, number: int) -> None:
        if not number:
            group.create_dataset(
                "data", data=np.zeros(APPENDED), chunks=(HISTORY_CHUNK,), maxshape=(None,)
            )
            return
        dataset = group["data"]
        dataset.resize(((number + 1) * APPENDED,))
        dataset[number * APPENDED :] = number

    def _changing(self) -> Path:
        """Return a store of vh5d in which each version changes a chunk of an array of many."""
        path = self.directory / "changing.h5"
        if path.exists():
            return path
        chunks = self.sizes.thinned_chunks
        with vh5d.open(path, "w") as versioned:
            for number in range(self.sizes.thinned[0]):
                with versioned.stage_version(f"v{number}") as group:
                    if number:
                        group["data"][number % chunks * CHUNK] = -number
                    else:
                        data = array_of(chunks)
                        group.create_dataset("data", data=data, chunks=(CHUNK,), maxshape=(None,))
        return path

    def _thinning(self, who: Contestant) -> None:
        """Thin a history in which each version changes a chunk of an array of many."""
        path, (before, after) = self._path("thinned"), self.sizes.thinned
        chunks = self.sizes.thinned_chunks
        who.take_over(self._changing(), path)
        step = before // after
        kept = set(range(step - 1, before, step))
        names = [f"v{number}" for number in range(before) if number not in kept]
        what = f"thinning {before} versions to {after}"
        self.found.size(f"{what}: file before", who.name, occupied(path))
        self.found.timed(what, who.name, lambda: who.delete(path, names))
        self.found.size(f"{what}: file after", who.name, occupied(path))
        with who.open(path, "r") as versioned:
            if sorted(versioned.versions) != sorted(f"v{number}" for number in kept):
                sys.exit(f"{who.name}: other versions are left than were to be")
            expected = array_of(chunks)
            for number in range(before):
                if number:
                    expected[number % chunks * CHUNK] = -number
                if number not in kept:
                    continue
                if not np.array_equal(versioned[f"v{number}"]["data"][()], expected):
                    sys.exit(f"{who.name}: version {number} is not what it was")
        path.unlink()


def array_of(chunks: int) -> Any:
    """Return an array that fills so many chunks, none like another."""
    return np.arange(chunks * CHUNK, dtype=float)


def occupied(path: Path) -> int:
    """Return the bytes that a file takes on its disk; holes take none."""
    return path.stat().st_blocks * 512


def milestones(count: int) -> list[int]:
    """Return the versions of a history whose times are told."""
    return [at for at in (10, 100, 1000, 2000) if at < count] + [count]


def report(found: Findings, names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a report for people; ratios are to the first of `names`."""
    width = max(len(name) for name in (*names, PLAIN)) + 2
    yield f"{'':44}" + "".join(f"{name:>{width + 9}}" for name in (*names, PLAIN))
    for what, by_name in found.seconds.items():
        base = min(by_name[names[0]])
        cells = []
        for name in (*names, PLAIN):
            if name not in by_name:
                cells.append(f"{'':{width + 9}}")
                continue
            best = min(by_name[name])
            cells.append(f"{duration(best):>{width}} {best / base:6.2f} ×")
        yield f"{what:44}" + "".join(cells)
    yield ""
    for what, sizes in found.nbytes.items():
        cells = [f"{sizes[name]:>{width},} B       " for name in names]
        yield f"{what:44}" + "".join(cells)


def duration(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds * 1000:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def expectations(found: Findings, sizes: Sizes) -> Iterator[tuple[str, float, bool]]:
    """Yield what is expected of vh5d, by how much it is met, and whether it is."""
    ours, theirs = Ours.name, Theirs.name

    def best(what: str, who: str) -> float:
        return min(found.seconds[what][who])

    most = max(sizes.chunks)
    if theirs in found.seconds[f"1 chunk of {most} changed"]:
        what = f"1 chunk of {most} changed"
        ratio = best(what, theirs) / best(what, ours)
        yield f"{what}: at least 20 times as fast", ratio, ratio >= 20
        what = f"thinning {sizes.thinned[0]} versions to {sizes.thinned[1]}"
        ratio = best(what, theirs) / best(what, ours)
        yield f"{what}: at least 50 times as fast", ratio, ratio >= 50
        for what, by_name in found.seconds.items():
            if theirs in by_name:
                ratio = best(what, theirs) / best(what, ours)
                yield f"{what}: not slower", ratio, ratio >= 1
    for chunks in sizes.chunks:
        what = f"full read, {chunks} chunks"
        ratio = best(what, PLAIN) / best(what, ours)
        yield f"{what}: at least 0.95 of plain h5py", ratio, ratio >= 0.95
    first, last = milestones(sizes.versions)[0], milestones(sizes.versions)[-1]
    times = [best(f"version {at} of small appends", ours) for at in (first, last)]
    yield (
        f"version {last} takes what version {first} took",
        times[1] / times[0],
        (times[1] <= 1.5 * times[0]),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse_arguments(arguments)
    sizes = QUICK if options.quick else Sizes()
    contestants: list[Contestant] = [Ours(), OursDurable()]
    with contextlib.suppress(ImportError):
        contestants.append(Theirs())
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="vh5d-benchmark-", dir=options.dir) as directory:
        benchmark = Benchmark(Path(directory), contestants, sizes, options.seed)
        # Its datasets' identifiers have no destructor; h5py complains of each.
        sys.unraisablehook = lambda _: None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            benchmark.run()
    names, found = [each.name for each in contestants], benchmark.found
    expected = list(expectations(found, sizes))
    setting = {
        "seed": options.seed,
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "h5py": h5py.version.version,
        "hdf5": h5py.version.hdf5_version,
        "contestants": names,
    }
    if options.json:
        listed = [{"what": a, "ratio": round(b, 3), "met": c} for a, b, c in expected]
        told = {**setting, "seconds": found.seconds, "nbytes": found.nbytes, "expected": listed}
        print(json.dumps(told, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in setting.items() if key != "contestants"))
    print("\n".join(report(found, names)))
    print()
    for what, ratio, met in expected:
        print(f"{'met    ' if met else 'NOT MET'} {what}: {ratio:.2f}")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small numbers")
    parser.add_argument("--seed", type=int, default=1, help="of what is changed and read (1)")
    parser.add_argument("--dir", type=Path, help="where to work")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def say(what: str) -> None:
    """Tell how far it is, on standard error."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
