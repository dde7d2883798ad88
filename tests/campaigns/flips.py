"""Wrong bytes in a store, one at a time: each is found, or does no harm at all.

    python -m tests.campaigns.flips --flips 10000

A store has captured versions, one that was kept by its bytes, and versions staged from Python; its
bytes are of ten kinds, and each kind gets its share of the flips. After every flip `verify` runs.
When it finds nothing, every captured version must restore bit for bit, and every tree must read as
it did. A journal that a crash left gets flips, too: the store then is the old one or the new one.
Batches run in processes of their own, and one that dies is a failure. Exit status 1 on any failure;
the seed is printed first.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import blake3
import h5py
import numpy as np

import vh5d
from tests.support.compare import differences
from vh5d.errors import VH5DError
from vh5d.hdf5.disk import Disk
from vh5d.hdf5.journal import journal_path
from vh5d.hdf5.ranges import merge, of_extents, subtract
from vh5d.store import chain, layout, seals
from vh5d.store.pools import ADDRESS, STORED
from vh5d.store.reader import open_store
from vh5d.store.spaces import spaces_of
from vh5d.store.verify import verify

BATCH = 100
LONGEST = 1800.0
"""Seconds that a batch may take."""
SUPERBLOCK_NBYTES = 48
JOURNAL = "journal"

Span = tuple[int, int]


# The store


def write(path: Path, step: int) -> None:
    """Write a state of the source."""
    rng = np.random.default_rng(step)
    with h5py.File(path, "a") as file:
        if not step:
            file["frames"] = rng.poisson(3, (20, 32, 32)).astype("u2")
            file.create_dataset("zipped", data=np.arange(4000), chunks=(50,), compression="gzip")
            file.create_dataset("plain", data=rng.random(2000), chunks=(100,))
            file["notes"] = np.array(["one", "two", "three"], h5py.string_dtype())
            file["group/scalar"] = 3.5
            file["group"].attrs["who"] = "somebody"
            file.attrs["title"] = "a measurement"
            file["soft"] = h5py.SoftLink("/plain")
        else:
            file["frames"][step] = 7 * step
            file["zipped"][100 * step : 100 * step + 60] = -1
            file["notes"][step] = f"note {step}"
            file[f"new{step}"] = np.arange(3.0 + step)


def stage(store: Path) -> None:
    """Make versions from Python, of all sorts of values."""
    with vh5d.open(store, "r+") as file:
        with file.stage_version("staged1") as group:
            group.create_dataset("made/array", data=np.arange(3000), chunks=(100,))
            group.create_dataset("made/words", data=["a", "bc", "def"], dtype=h5py.string_dtype())
            group.create_dataset("made/number", data=np.float64(2.5))
            group["made/array"].attrs["unit"] = "metre"
            group["made/words"].attrs["numbers"] = np.arange(20)
        with file.stage_version("staged2") as group:
            group["made/array"][150] = -5
            group["made/words"][1] = "changed"


class _Camera(Disk):
    """A disk that keeps copies of store and journal from when the journal is durable."""

    def __init__(self, store: Path, into: Path) -> None:
        super().__init__()
        self._store, self._into = store, into

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        if journal_path(self._store).exists() and not self._into.exists():
            shutil.copy(self._store, self._into)
            shutil.copy(journal_path(self._store), journal_path(self._into))


def make(directory: Path) -> None:
    """Make the store, what its versions were, and one with a journal."""
    source, store = directory / "source.h5", directory / "store.h5"
    for step in range(2):
        write(source, step)
        name = vh5d.capture(source, store).version
        shutil.copy(source, directory / f"{name}.whole")
    source.write_bytes(random.Random(3).randbytes(30_000))
    shutil.copy(source, directory / f"{vh5d.capture(source, store).version}.whole")
    stage(store)
    assert verify(store).problems == ()
    copy, left = directory / "copy.h5", directory / "left.h5"
    shutil.copy(store, copy)
    source.unlink()
    write(source, 0)
    vh5d.capture(source, copy, disk=_Camera(copy, left))
    assert journal_path(left).exists()


def kinds(directory: Path) -> dict[str, list[Span]]:
    """Return which kind of bytes lies where."""
    store = directory / "store.h5"
    whole = np.array([[0, store.stat().st_size]], np.int64)
    found: dict[str, list[Span]] = {}
    with open_store(store) as reader, h5py.File(store, "r") as file:
        tables = [reader.pools[name].table for name in reader.pools]
        chunks = merge(np.concatenate([of_extents(t[:, ADDRESS], t[:, STORED]) for t in tables]))
        spaces = spaces_of(file).ranges
        parts = {
            "chunks": chunks,
            "indexes and headers": subtract(spaces, chunks),
            "pool tables": _places(file[layout.POOLS]),
            "images": _places(file[layout.IMAGES]),
            "values in versions": _places(file[layout.VERSIONS]),
            "chain and seals": merge(
                np.concatenate(
                    [
                        _place(file[layout.ROOT][chain.NAME]),
                        _places(file[layout.ROOT][seals.MADE]),
                    ]
                )
            ),
            "superblock": np.array([[0, SUPERBLOCK_NBYTES]], np.int64),
        }
        known = merge(np.concatenate([spaces, *parts.values()]))
        parts["images"] = subtract(parts["images"], spaces)
        parts["metadata, heaps and gaps"] = subtract(whole, known)
        parts["anywhere"] = whole
    for kind, ranges in parts.items():
        found[kind] = [(int(start), int(stop)) for start, stop in ranges]
        assert found[kind], kind
    found[JOURNAL] = [(0, journal_path(directory / "left.h5").stat().st_size)]
    return found


def _place(dataset: h5py.Dataset) -> np.ndarray:
    if dataset.chunks is None:
        start = dataset.id.get_offset()
        nbytes = dataset.id.get_storage_size() if start is not None else 0
        return np.array([[start or 0, (start or 0) + nbytes]], np.int64)
    row = int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize
    infos = [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]
    used = [min(i.size, (dataset.shape[0] - i.chunk_offset[0]) * row) for i in infos]
    starts = [i.byte_offset for i in infos]
    return np.array([[a, a + n] for a, n in zip(starts, used, strict=True)], np.int64)


def _places(group: h5py.Group) -> np.ndarray:
    found = [np.empty((0, 2), np.int64)]

    def visit(_name: str, each: object) -> None:
        if isinstance(each, h5py.Dataset) and (each.chunks is None or not each.compression):
            found.append(_place(each))

    group.visititems(visit)
    return merge(np.concatenate(found))


# One flip


def flip(path: Path, offset: int, bits: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def harm(directory: Path, store: Path) -> list[str]:
    """Return what cannot be got back, or reads otherwise."""
    wrong = []
    for copy in sorted(directory.glob("*.whole")):
        target = store.with_name("out")
        try:
            vh5d.restore(store, copy.stem, target, overwrite=True)
            if target.read_bytes() != copy.read_bytes():
                wrong.append(f"{copy.stem}: other bytes")
        except VH5DError as error:
            wrong.append(f"{copy.stem}: {error}")
    with h5py.File(store, "r") as file, h5py.File(directory / "store.h5", "r") as before:
        names = [name for name in before[layout.VERSIONS] if name != layout.FIRST_VERSION]
        for name in names:  # of a journal that was carried out, there is one more
            one, other = before[layout.VERSIONS][name], file[layout.VERSIONS][name]
            wrong += [f"{name}: {each}" for each in differences(one, other, storage=False)]
    return wrong


def judge(directory: Path, store: Path, known: dict[bytes, str]) -> str:
    """Return whether damage is ``found``, is ``harmless``, or what is wrong.

    Parameters
    ----------
    directory
        What `make` made.
    store
        The damaged store.
    known
        The verdict by the digest of a store; grows.
    """
    try:
        open_store(store).close()  # recovery, if there is a journal
        digest = blake3.blake3(store.read_bytes()).digest()
        if digest not in known:
            known[digest] = "found" if verify(store).problems else _harmless(directory, store)
        return known[digest]
    except VH5DError:
        return "found"


def _harmless(directory: Path, store: Path) -> str:
    try:
        return "; ".join(harm(directory, store)[:3]) or "harmless"
    except Exception as error:  # noqa: BLE001 - whatever it is, it was not found
        return f"{type(error).__name__}: {error}"


def damaged(directory: Path, work: Path, kind: str, offset: int, bits: int) -> Path:
    """Return a store with a wrong byte."""
    store = work / "damaged.h5"
    journal_path(store).unlink(missing_ok=True)
    if kind == JOURNAL:
        shutil.copy(directory / "left.h5", store)
        shutil.copy(journal_path(directory / "left.h5"), journal_path(store))
        flip(journal_path(store), offset, bits)
    else:
        shutil.copy(directory / "store.h5", store)
        flip(store, offset, bits)
    return store


def batch(directory: Path, kind: str, seed: str, count: int) -> None:
    """Do a batch; say what comes of each flip, before the next."""
    places = kinds(directory)[kind]
    rng = random.Random(seed)
    weights = [stop - start for start, stop in places]
    known: dict[bytes, str] = {}
    with tempfile.TemporaryDirectory(dir=directory) as work:
        for _ in range(count):
            start, stop = rng.choices(places, weights)[0]
            offset, bits = rng.randrange(start, stop), rng.randrange(1, 256)
            print(json.dumps([kind, offset, bits]), flush=True)
            store = damaged(directory, Path(work), kind, offset, bits)
            print(json.dumps(judge(directory, store, known)), flush=True)


# All of them


@dataclass
class Figures:
    seed: int
    done: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return sum(counter.total() for counter in self.done.values())

    def summary(self) -> str:
        lines = [f"seed {self.seed}: {self.total} flips in {self.seconds:.0f} s"]
        for kind, counter in self.done.items():
            lines.append(f"  {kind}: {counter['found']} found, {counter['harmless']} harmless")
        return "\n".join([*lines, f"failures: {len(self.failures)}"])


def run(flips: int, seed: int, directory: Path, processes: int = 2) -> Figures:
    """Do so many flips, in equal parts of every kind."""
    started = time.monotonic()
    make(directory)
    names = list(kinds(directory))
    figures = Figures(seed, {name: Counter() for name in names})
    share = -(-flips // len(names))
    jobs = [
        (name, f"{seed} {name} {first}", min(BATCH, share - first))
        for first in range(0, share, BATCH)
        for name in names
    ]
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not jobs:
                    return
                job = jobs.pop()
            tell(job)

    def tell(job: tuple[str, str, int]) -> None:
        command = [sys.executable, "-m", "tests.campaigns.flips", "--batch", str(directory)]
        try:
            done = subprocess.run(
                [*command, *map(str, job)],
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
            lines, code, said = done.stdout.splitlines(), done.returncode, done.stderr[-2000:]
        except subprocess.TimeoutExpired as error:
            lines, code, said = [], -1, f"no end after {error.timeout} s"
        with lock:
            for flipped, came in zip(lines[::2], lines[1::2], strict=False):
                what = json.loads(came)
                figures.done[job[0]][what if what in {"found", "harmless"} else "failed"] += 1
                if what not in {"found", "harmless"}:
                    figures.failures.append(f"{flipped}: {what}")
            if code:
                last = lines[-1] if len(lines) % 2 else ""
                figures.failures.append(f"{job} {last}: exit status {code}: {said}")

    threads = [threading.Thread(target=work) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures.seconds = time.monotonic() - started
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--flips", type=int, default=10_000, help="in all")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--processes", type=int, default=2, help="at the same time")
    parser.add_argument("--batch", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch:
        directory, kind, seed, count = options.batch
        batch(Path(directory), kind, seed, int(count))
        return 0
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="flips-") as directory:
        figures = run(options.flips, seed, Path(directory), options.processes)
    print(figures.summary())
    for failure in figures.failures:
        print(f"FAILURE {failure}")
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
