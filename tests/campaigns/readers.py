"""Plain HDF5 readers of a store that is written all the time: does any of them read a wrong value?

    python -m tests.campaigns.readers --reads 100000

Two writers, processes of their own, share a store. One counts: it writes the next number into every
chunk of a source and captures it, so version v7 is all sevens. The other prunes the store to a few
versions, and compacts it now and then. Both wait for each other and for the readers, and start
again when a deadline passed.

Readers, processes too, open the store with plain h5py and its own locks, read versions at random,
and compare every value. Most open it for a moment; one keeps it open for long. A store that is not
theirs at that moment is refused by HDF5: that is counted, and they come back after a pause.

Exit status 1 if any value was wrong, a version that was kept is not there in the end, or the store
does not verify; the seed is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.support.service import ROOT
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.errors import StoreBusyError, StoreConflictError
from vh5d.store.compact import compact
from vh5d.store.prune import prune
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

CHUNKS, LENGTH = 8, 512
#: Versions that the second writer leaves, and one compaction in so many prunings.
KEEP, COMPACT_EVERY = 12, 10
#: Reads while a store is open, and for how many seconds the long reader keeps it.
AT_ONCE, LONG = 25, 0.6
#: Seconds that a writer waits for others before it starts again.
PATIENCE = 2.0
#: Seconds after which the roles begin anew, with another store.
SLICE = 60.0


@dataclass
class Figures:
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, said: dict[str, Any]) -> None:
        self.counts.update(said["counts"])
        self.wrong += said["wrong"]

    def summary(self) -> str:
        each = ", ".join(f"{name} {n}" for name, n in sorted(self.counts.items()))
        return f"{each}\nwrong: {len(self.wrong)}"


# The roles; each ends when its standard input does, and says what it did.


def count(store: Path, random_: random.Random, end: Ending) -> Figures:
    """Write a number, capture it, and so on; each version must be the next."""
    figures, source = Figures(), store.with_name("source.h5")
    options = CaptureOptions(timeout=PATIENCE, threads=1)
    number = 0
    while not end():
        number += 1
        with h5py.File(source, "w", libver=random_.choice(["earliest", "latest"])) as file:
            numbers = np.full(CHUNKS * LENGTH, number)
            file.create_dataset("group/counted", data=numbers, chunks=(LENGTH,))
            file["constant"] = np.arange(LENGTH)
            file.attrs["number"] = number
        version = _insist(lambda: capture(source, store, options=options).version, figures, end)
        if version is not None:
            figures.counts["captures"] += 1
            if version != f"v{number}":
                figures.wrong.append(f"capture {number} became {version}: an update was lost")
    return figures


def thin(store: Path, random_: random.Random, end: Ending) -> Figures:
    """Prune; compact now and then."""
    figures = Figures()
    while not end():
        time.sleep(random_.uniform(0, 0.2))
        _insist(partial(_prune, store), figures, end)
        figures.counts["prunings"] += 1
        if random_.randrange(COMPACT_EVERY) == 0:
            _insist(lambda: compact(store, timeout=PATIENCE), figures, end)
            figures.counts["compactions"] += 1
    return figures


def _prune(store: Path) -> None:
    with open_store(store, timeout=PATIENCE) as reader:
        oldest = reader.versions[-1].sequence - KEEP if reader.versions else 0
    prune(store, lambda version: version.sequence <= oldest, timeout=PATIENCE)


def _insist(action: Any, figures: Figures, end: Ending) -> Any:
    while True:
        try:
            return action()
        except (StoreBusyError, StoreConflictError) as error:
            figures.counts[f"deadlines passed ({type(error).__name__})"] += 1
            if end():
                return None


def read(store: Path, random_: random.Random, end: Ending, *, long: bool = False) -> Figures:
    """Open the store with plain h5py and its locks; read at random."""
    figures = Figures()
    while not end():
        with contextlib.suppress(_Refused), _opened(store, figures) as file:
            _read_some(file, random_, figures, time.monotonic() + (LONG if long else 0))
        time.sleep(random_.uniform(0.01, 0.1) * (10 if long else 1))
    return figures


class _Refused(Exception):  # noqa: N818 - no error: to be tried again
    pass


@contextlib.contextmanager
def _opened(store: Path, figures: Figures) -> Iterator[h5py.File]:
    try:
        file = h5py.File(store, "r", locking=True)
    except OSError as error:
        if not any(each in str(error) for each in ("unable to lock", "already open for write")):
            figures.wrong.append(f"refused otherwise: {error}")
        figures.counts["refused"] += 1
        raise _Refused from error
    with file:
        figures.counts["openings"] += 1
        yield file


def _read_some(file: h5py.File, random_: random.Random, figures: Figures, until: float) -> None:
    versions = file["_version_data/versions"]
    names = [name for name in versions if name != "__first_version__"]
    done = 0
    while names and (done < AT_ONCE or time.monotonic() < until):
        name = random_.choice(names)
        try:
            expected = int(name[1:])
            found = versions[name]["group/counted"][()]
            fine = (
                found.shape == (CHUNKS * LENGTH,)
                and bool((found == expected).all())
                and versions[name].attrs["number"] == expected
                and bool((versions[name]["constant"][()] == np.arange(LENGTH)).all())
            )
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            figures.wrong.append(f"{name}: {error}")
        else:
            figures.counts["reads"] += 1
            if not fine:
                figures.wrong.append(f"{name} holds {np.unique(found)[:5]}")
        done += 1


ROLES = {
    "count": count,
    "thin": thin,
    "read": read,
    "read for long": lambda *arguments: read(*arguments, long=True),
}


class Ending:
    """Whether the one who started this process wants it to end; and progress, until then."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self) -> bool:
        self._said = self._said or bool(select.select([sys.stdin], [], [], 0)[0])
        return self._said


# The campaign.


def run(reads: int, seed: int, home: Path, *, readers: int = 3, seconds: float = 7200.0) -> Figures:
    """Let them all work until so much was read, or so much time is over."""
    store = home / "store.h5"
    total = Figures()
    with h5py.File(home / "source.h5", "w") as file:
        file["empty"] = 0
    roles = ["count", "thin", *["read"] * (readers - 1), "read for long"]
    started = time.monotonic()
    # In slices: what was read is known in between, and roles begin anew with another seed.
    part = 0
    while total.counts["reads"] < reads and time.monotonic() < started + seconds:
        place = home / f"part{part}"
        place.mkdir()
        for said in _slice(place / store.name, roles, seed + 100 * part, min(SLICE, seconds)):
            total.add(said)
        _judge(place / store.name, total)
        part += 1
    return total


def _slice(store: Path, roles: list[str], seed: int, seconds: float) -> list[dict[str, Any]]:
    processes = []
    for number, role in enumerate(roles):
        command = [sys.executable, "-m", "tests.campaigns.readers", "--role", role]
        processes.append(
            subprocess.Popen(
                [*command, "--store", str(store), "--seed", str(seed + number)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        while number == 0 and not store.exists() and processes[0].poll() is None:
            time.sleep(0.01)
    time.sleep(seconds)
    said = []
    for process in processes:
        output, _ = process.communicate("\n", timeout=120)
        assert process.returncode == 0, f"a role ended with status {process.returncode}"
        said.append(json.loads(output))
    return said


def _judge(store: Path, figures: Figures) -> None:
    report = verify(store)
    if not report.ok:
        figures.wrong.append(f"{store} does not verify: {report}")
    with open_store(store) as reader:
        sequences = [version.sequence for version in reader.versions]
    if not sequences or sequences != list(range(sequences[0], sequences[-1] + 1)):
        figures.wrong.append(f"versions are missing: {sequences}")
    figures.counts["stores verified"] += 1
    left = [path.name for path in store.parent.iterdir()]
    if sorted(left) != ["source.h5", "store.h5"]:
        figures.wrong.append(f"left behind: {left}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--readers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--role", choices=list(ROLES), help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    if options.role is not None:
        said = ROLES[options.role](options.store, random.Random(seed), Ending())
        print(json.dumps({"counts": said.counts, "wrong": said.wrong}))
        return 0
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="readers-") as directory:
        figures = run(options.reads, seed, Path(directory), readers=options.readers)
    print(figures.summary())
    for wrong in figures.wrong:
        print(f"WRONG {wrong}")
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
