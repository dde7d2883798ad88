"""A detector that writes with SWMR: a process of its own, and a judge of what was seen of it.

Every element of frame `i` is `i + 1`, in every dataset, so a chunk that is torn, or that an index
points to before it was written, shows.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

#: Name: shape of a frame, chunk shape, filter.
DATASETS = {
    "frames": ((64, 64), (1, 64, 64), None),
    "packed": ((32, 32), (4, 32, 32), "gzip"),
    "times": ((), (1000,), None),
}
LARGE = {"large": ((512, 512), (1, 512, 512), None)}

_CODE = """
import select, sys, time
import h5py, numpy as np
from tests.support.swmr_writer import DATASETS, LARGE

path, large, pause = sys.argv[1], sys.argv[2] == "large", float(sys.argv[3])
file = h5py.File(path, "w", libver="latest")
file.attrs["title"] = "a scan"
file["settings"] = np.arange(3000.0)
datasets = {}
for name, (frame, chunks, packed) in ({**DATASETS, **LARGE} if large else DATASETS).items():
    datasets[name] = file.create_dataset(
        name, (0, *frame), "u4", maxshape=(None, *frame), chunks=chunks, compression=packed
    )
latest = file.create_dataset("latest", (256,), "u4", chunks=(256,))
latest[:] = 0
file.flush()
file.swmr_mode = True
count = 0

def add():
    global count
    for name, dataset in datasets.items():
        dataset.resize(count + 1, axis=0)
        dataset[count] = count + 1
    latest[:] = count + 1
    for dataset in (*datasets.values(), latest):
        dataset.flush()
    count += 1

print("ready", flush=True)
running = False
while True:
    if running and not select.select([sys.stdin], [], [], pause)[0]:
        add()
        continue
    word, *rest = sys.stdin.readline().split() or ["close"]
    if word == "add":
        for _ in range(int(rest[0])):
            add()
    elif word == "rewrite":
        datasets["frames"][int(rest[0])] = 10**6
        datasets["frames"].flush()
    elif word == "run":
        running = True
    elif word == "pause":
        running = False
    elif word == "close":
        file.close()
        print(count, flush=True)
        break
    print(count, flush=True)
"""


class SwmrWriter:
    """The process; it has made the file, and adds frames when it is told to.

    Parameters
    ----------
    path
        The file.
    large
        Whether to add frames of a mebibyte, too.
    pause
        Seconds between two frames while it runs by itself.
    """

    def __init__(self, path: Path, *, large: bool = False, pause: float = 0.0) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(path), "large" if large else "-", str(pause)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", self._process.communicate()[1]

    def tell(self, words: str) -> int:
        """Have it do something; how many frames there are then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{words}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, f"the writer failed: {self._process.communicate()[1]}"
        return int(answer)

    def add(self, frames: int) -> int:
        """Write so many frames; how many there are then."""
        return self.tell(f"add {frames}")

    def close(self) -> int:
        """Have it close the file, and see that it never failed."""
        frames = self.tell("close")
        _, errors = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, errors
        assert errors == ""
        return frames

    def kill(self) -> None:
        """End it without a word to the file."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self.kill()


def torn(group: h5py.Group) -> list[str]:
    """What a reader of the file could never have seen, a line each."""
    return [line for name in {**DATASETS, **LARGE} if name in group for line in _torn(group[name])]


def _torn(dataset: h5py.Dataset) -> Iterator[str]:
    room = -(-len(dataset) // dataset.chunks[0])
    if dataset.id.get_num_chunks() > room:
        yield f"{dataset.name}: {dataset.id.get_num_chunks()} chunks where {room} have room"
    for i, frame in enumerate(dataset[()]):
        values = np.unique(frame)
        # The extent may be there before the last frame is, which reads as zeros then.
        unwritten = i == len(dataset) - 1 and values.tolist() == [0]
        if values.tolist() not in ([i + 1], [10**6]) and not unwritten:
            yield f"{dataset.name}[{i}] of {len(dataset)}: {values[:5].tolist()}"


def frames(group: h5py.Group) -> int:
    """How many frames there are."""
    return min(len(group[name]) for name in DATASETS)
