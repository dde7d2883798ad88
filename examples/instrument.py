"""Behaves like an instrument: appends frames to an HDF5 file, rewrites a few, closes it.

    python examples/instrument.py data/run.h5 --frames 50 --rewrite 3 --cycles 2

Every cycle opens the file again. With --swmr, frames can be read while they are written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    summary, details = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="the file; made with its directory if need be")
    parser.add_argument("--frames", type=int, default=50, help="frames a cycle (50)")
    parser.add_argument("--shape", type=_shape, default=(256, 256), help="of a frame (256,256)")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds a frame (0.1)")
    parser.add_argument("--rewrite", type=int, default=3, help="frames rewritten a cycle (3)")
    parser.add_argument("--cycles", type=int, default=1, help="times the file is opened (1)")
    parser.add_argument("--compression", choices=["gzip", "none"], default="gzip")
    parser.add_argument("--swmr", action="store_true", help="single writer, multiple readers")
    parser.add_argument("--seed", type=int, help="for the same counts every time")
    return parser.parse_args(arguments)


def _shape(text: str) -> tuple[int, int]:
    height, width = map(int, text.split(","))
    return height, width


def open_entry(out: Path, options: argparse.Namespace) -> h5py.File:
    """Open the file, made as a NeXus entry with an empty detector stack if it is new."""
    # SWMR needs the newest file format; everybody else is served by the widest known.
    file = h5py.File(out, "a", libver="latest" if options.swmr else "earliest")
    if "entry" in file:
        return file
    file.attrs["default"] = "entry"
    entry = file.create_group("entry")
    entry.attrs.update({"NX_class": "NXentry", "default": "data"})
    entry["start_time"] = datetime.now(UTC).isoformat()
    data = entry.create_group("data")
    data.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": ["time", ".", "."]})
    counts = data.create_dataset(
        "counts",
        shape=(0, *options.shape),
        maxshape=(None, *options.shape),
        chunks=(1, *options.shape),
        dtype="u2",
        compression=None if options.compression == "none" else options.compression,
        shuffle=options.compression != "none",
    )
    counts.attrs["units"] = "counts"
    moments = data.create_dataset("time", shape=(0,), maxshape=(None,), chunks=(1024,), dtype="f8")
    moments.attrs.update({"units": "s", "long_name": "seconds since 1970-01-01T00:00:00Z"})
    return file


def run_cycle(out: Path, options: argparse.Namespace, random: np.random.Generator) -> int:
    """Append frames, rewrite some of them, close. Return how many the file holds."""
    with open_entry(out, options) as file:
        if options.swmr:
            file.swmr_mode = True
        counts, moments = file["entry/data/counts"], file["entry/data/time"]
        for _ in range(options.frames):
            append(counts, random.poisson(20, counts.shape[1:]))
            append(moments, time.time())
            if options.swmr:
                counts.flush()
                moments.flush()
            time.sleep(options.interval)
        rewritten = random.choice(
            len(counts), size=min(options.rewrite, len(counts)), replace=False
        )
        for index in sorted(rewritten):
            counts[index] = random.poisson(25, counts.shape[1:])
        total = len(counts)
    print(f"{out}: {options.frames} frames appended, {len(rewritten)} rewritten, {total} in all")
    return total


def append(dataset: Any, value: Any) -> None:
    """Add `value` at the end of the first axis."""
    dataset.resize(len(dataset) + 1, axis=0)
    dataset[-1] = value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse_arguments(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(options.seed)
    for _ in range(options.cycles):
        run_cycle(options.out, options, random)


if __name__ == "__main__":
    main()
