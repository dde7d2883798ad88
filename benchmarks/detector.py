"""The detector stack that is captured, and what an instrument does to it.

    python detector.py make FILE --frames 2000 --seed 1
    python detector.py change FILE --part 0.01 --seed 2

`change` prints the frames that it rewrote, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

DATASET = "entry/data/counts"
FRAME = (512, 512)  # 0.5 MiB of uint16
MEAN = 4.0  # counts a pixel


def frame(seed: int, index: int) -> NDArray[np.uint16]:
    """Return a frame of photon counts, the same for the same seed and index."""
    return np.random.default_rng((seed, index)).poisson(MEAN, FRAME).astype(np.uint16)


def make(path: Path, frames: int, seed: int) -> None:
    """Write a new file: one unfiltered dataset, a chunk a frame."""
    with h5py.File(path, "w") as file, ThreadPoolExecutor(os.cpu_count()) as executor:
        counts = file.create_dataset(DATASET, (frames, *FRAME), "u2", chunks=(1, *FRAME))
        for index, each in enumerate(executor.map(lambda i: frame(seed, i), range(frames))):
            counts[index] = each
    sync(path)


def change(path: Path, part: float, seed: int) -> list[int]:
    """Rewrite a part of the frames in place, at least one; return which."""
    with h5py.File(path, "r+") as file:
        counts = file[DATASET]
        some = max(1, round(part * len(counts)))
        rewritten = np.random.default_rng(seed).choice(len(counts), some, replace=False)
        for index in sorted(rewritten.tolist()):
            counts[index] = frame(seed, index)
    sync(path)
    return sorted(rewritten.tolist())


def sync(path: Path) -> None:
    """Make a file durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description="Make or change the file of the benchmark.")
    parser.add_argument("action", choices=["make", "change"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--part", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.action == "make":
        make(options.file, options.frames, options.seed)
    else:
        print(json.dumps(change(options.file, options.part, options.seed)))


if __name__ == "__main__":
    main()
