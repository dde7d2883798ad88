"""How well and how fast the encodings of vh5d pack detector frames, beside zlib.

Run it: ``python benchmarks/packing.py``. One thread; the frames are Poisson counts.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from functools import partial

import click
import numpy as np
import zstandard
from isal import isal_zlib

from vh5d.store.encoding import shuffle

Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]

CODECS: dict[str, Codec] = {
    "zstd 1": (zstandard.ZstdCompressor(level=1).compress, zstandard.ZstdDecompressor().decompress),
    "ISA-L 1": (lambda data: isal_zlib.compress(data, 1), isal_zlib.decompress),
    "ISA-L 1, read by zlib": (lambda data: isal_zlib.compress(data, 1), zlib.decompress),
    "zlib 1": (lambda data: zlib.compress(data, 1), zlib.decompress),
}


def rate(work: Callable[[], bytes], nbytes: int, runs: int) -> tuple[bytes, float]:
    """Return what `work` returns, and its best speed in MB/s of uncompressed data."""
    best, result = float("inf"), b""
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, nbytes / best / 1e6


@click.command()
@click.option("--runs", default=3, show_default=True, help="Runs of each; the best counts.")
@click.option("--seed", default=0, show_default=True)
def main(runs: int, seed: int) -> None:
    """Compare encodings on Poisson frames of uint16, 16 x 512 x 512."""
    random = np.random.default_rng(seed)
    print(f"{'mean':>6} {'codec':<22} {'ratio':>6} {'pack MB/s':>10} {'unpack MB/s':>12}")
    for mean in (3, 10, 100, 1000):
        frames = random.poisson(mean, (16, 512, 512)).astype("<u2")
        data = bytes(shuffle(frames.tobytes(), 2))
        for name, (pack, unpack) in CODECS.items():
            packed, packing = rate(partial(pack, data), len(data), runs)
            _, unpacking = rate(partial(unpack, packed), len(data), runs)
            ratio = len(data) / len(packed)
            print(f"{mean:>6} {name:<22} {ratio:>6.2f} {packing:>10.0f} {unpacking:>12.0f}")


if __name__ == "__main__":
    main()
