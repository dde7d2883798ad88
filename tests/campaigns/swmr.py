"""Captures of files that grow: is any of them something that no SWMR reader could have seen?

    python -m tests.campaigns.swmr --captures 2000

A writer, a process of its own, appends frames with SWMR, at once or with pauses, to datasets with
chunks of a frame, of several frames with a filter, of a thousand numbers, and of a mebibyte. Every
element tells which frame it is of. Captures are made beside it as fast as they go, and now and then
by the command; each version is checked against what its elements must be, some are restored. In
the end the writer closes the file, and must not have failed; the version of that is exact.

service
    The same with `vh5d up` and ``while_open: swmr``.

Exit status 1 if any version is torn or any writer failed; the seed is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from tests.support.compare import differences
from tests.support.history import sha256
from tests.support.service import Up, run_vh5d
from tests.support.swmr_writer import SwmrWriter, frames, torn
from tests.support.waiting import wait_for
from vh5d.capture import carry
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.capture.restore import restore
from vh5d.errors import SourceError
from vh5d.store.layout import RESERVED_ATTRIBUTES, VERSIONS
from vh5d.store.reader import open_store
from vh5d.store.verify import verify

SWMR = CaptureOptions(busy="swmr")
#: Captures of one file; one in so many is made by the command line, one version restored.
ROUND, BY_COMMAND, RESTORED = 25, 20, 10


@dataclass
class Figures:
    attempted: int = 0
    noticed: list[str] = field(default_factory=list)
    versions: int = 0
    frames: int = 0
    read: int = 0
    grown: int = 0
    added: int = 0
    torn: list[str] = field(default_factory=list)

    def summary(self) -> str:
        return (
            f"captures attempted: {self.attempted}, of these put off: {len(self.noticed)}\n"
            f"versions kept and checked: {self.versions}, of {self.frames} frames written beside\n"
            f"bytes that the files grew by: {self.grown:,}, read: {self.read:,}, "
            f"stored: {self.added:,}\n"
            f"torn: {len(self.torn)}"
        )


def one_file(home: Path, captures: int, chance: random.Random, figures: Figures) -> None:
    """Capture one file while it grows, check all versions, then the end."""
    source, store = home / "scan.h5", home / "scan.store"
    large = chance.random() < 0.4
    pause = chance.choice([0.0, 0.001, chance.uniform(0, 0.02)]) + large * 0.01
    with SwmrWriter(source, large=large, pause=pause) as writer:
        writer.add(chance.randrange(30))
        writer.tell("run")
        size = 0
        for _ in range(captures):
            figures.attempted += 1
            attempt(source, store, figures, by_command=chance.random() < 1 / BY_COMMAND)
            size = source.stat().st_size
            time.sleep(chance.choice([0.0, chance.uniform(0, 0.05)]))
        figures.frames += writer.close()
        figures.grown += size
    check(store, home, chance, figures)
    last = capture(source, store, options=SWMR)
    restore(store, str(last.version), home / "back.h5", overwrite=True)
    if last.kept_as != "tree" or sha256(home / "back.h5") != sha256(source):
        figures.torn.append(f"{source}: its end is not exact")


def attempt(source: Path, store: Path, figures: Figures, *, by_command: bool) -> None:
    if by_command:
        process = run_vh5d("snapshot", "--swmr", "--store", store, source)
        out, _ = process.communicate(timeout=120)
        if process.returncode:
            figures.noticed.append(out)
        return
    try:
        result = capture(source, store, options=SWMR)
    except SourceError as error:
        figures.noticed.append(str(error))
        return
    figures.read += result.read_bytes
    figures.added += result.bytes_added


def check(store: Path, home: Path, chance: random.Random, figures: Figures) -> None:
    """Look at every version of a store, and at some as they are restored."""
    figures.torn += [f"{store}: {each.message}" for each in verify(store).problems]
    seen = 0
    with open_store(store) as reader:
        versions = [each.name for each in reader.versions]
    for name in versions:
        with h5py.File(store, "r") as file:
            tree = file[VERSIONS][name]
            figures.torn += [f"{store} {name}: {line}" for line in torn(tree)]
            if frames(tree) < seen:
                figures.torn.append(f"{store} {name}: {frames(tree)} frames, {seen} before")
            seen = frames(tree)
        figures.versions += 1
        if chance.random() < 1 / RESTORED:
            restore(store, name, home / "back.h5", overwrite=True)
            with h5py.File(home / "back.h5", "r") as back, h5py.File(store, "r") as file:
                unlike = differences(
                    back["/"], file[VERSIONS][name], but_root_attributes=RESERVED_ATTRIBUTES
                )
            figures.torn += [f"{store} {name} restored: {line}" for line in unlike]


def by_service(home: Path, seconds: float, chance: random.Random, figures: Figures) -> None:
    """Let a service capture two files as they grow, and their ends."""
    data = home / "data"
    data.mkdir()
    up = Up(data, home, settle="200ms", while_open="swmr", swmr_interval="1s")
    up.start()
    paths = [data / f"{number}.h5" for number in range(2)]
    try:
        with contextlib.ExitStack() as stack:
            writers = [
                stack.enter_context(SwmrWriter(path, pause=chance.uniform(0, 0.01)))
                for path in paths
            ]
            for writer in writers:
                writer.tell("run")
            time.sleep(seconds)
            figures.frames += sum(writer.close() for writer in writers)
        for path in paths:
            store = data / ".vh5d" / path.name
            wait_for(lambda store=store: _exact(store), f"the end of {path.name}", timeout=120)
    finally:
        up.kill()
    for path in paths:
        store = data / ".vh5d" / path.name
        check(store, home, chance, figures)
        restore(store, "-1", home / "back.h5", overwrite=True)
        if sha256(home / "back.h5") != sha256(path):
            figures.torn.append(f"{path}: its end is not exact")


def _exact(store: Path) -> bool:
    if not store.exists():
        return False
    with open_store(store) as reader:
        return bool(reader.versions) and reader.versions[-1].kept_as == "tree"


def run(captures: int, seed: int, home: Path, *, service_seconds: float) -> Figures:
    """Files one after another; every second one with a small part read again at each capture."""
    figures, chance, whole = Figures(), random.Random(seed), carry.AUDIT_NBYTES
    number = 0
    try:
        while figures.attempted < captures:
            carry.AUDIT_NBYTES = whole if number % 2 else 1 << 20
            place = home / str(number)
            place.mkdir()
            one_file(place, min(ROUND, captures - figures.attempted), chance, figures)
            for path in place.iterdir():
                path.unlink()
            number += 1
    finally:
        carry.AUDIT_NBYTES = whole
    if service_seconds:
        by_service(home, service_seconds, chance, figures)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--captures", type=int, default=2000)
    parser.add_argument("--service-seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="swmr-") as directory:
        figures = run(
            options.captures, seed, Path(directory), service_seconds=options.service_seconds
        )
    print(figures.summary())
    for reason in sorted(set(figures.noticed)):
        print(f"put off: {reason}")
    for line in figures.torn:
        print(f"TORN {line}")
    return 1 if figures.torn else 0


if __name__ == "__main__":
    sys.exit(main())
