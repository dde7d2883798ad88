"""What a benchmark measured, as JSON and as a table."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """One timed command: seconds on the clock and of the processor, bytes of memory and disk."""

    seconds: float
    cpu_seconds: float
    peak_rss: int
    store_nbytes: int


def summary(
    samples: Mapping[str, Sequence[Sample]], of_vh5d: Mapping[str, Sequence[Sample]]
) -> dict[str, Any]:
    """Return what JSON has of a contestant's samples, situation by situation."""
    return {each: _spread_of(samples[each], of_vh5d[each]) for each in samples}


def _spread_of(samples: Sequence[Sample], of_vh5d: Sequence[Sample]) -> dict[str, Any]:
    ratios = [a.seconds / b.seconds for a, b in zip(samples, of_vh5d, strict=True)]
    return {
        "seconds": _spread([each.seconds for each in samples]),
        "times_vh5d": _spread(ratios),  # of the same round
        "cpu_seconds": _spread([each.cpu_seconds for each in samples]),
        "peak_rss": max(each.peak_rss for each in samples),
        "store_nbytes": median(each.store_nbytes for each in samples),
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    rounded = [round(each, 4) for each in values]
    return {
        "median": round(median(values), 4),
        "min": min(rounded),
        "max": max(rounded),
        "rounds": rounded,
    }


def table(setting: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a report for people."""
    yield (
        f"{setting['size_mib']} MiB, {setting['frames']} frames, seed {setting['seed']}; "
        f"{setting['rounds']} rounds; page cache warm; {setting['file_system']}, "
        f"{setting['processors']} processors, load {setting['load_before']} before"
    )
    for situation in results[0]["situations"]:
        yield ""
        yield from _situation(situation, results)
    yield ""
    yield f"{'':26} {'version':10} {'bytes came back':16} durable by"
    same = {True: "the same", False: "DIFFERENT", None: "gives arrays"}
    for each in results:
        came_back = same[each["same_bytes"]]
        yield f"  {each['name']:24} {each['version']:10} {came_back:16} {each['durable']}"
    for name in setting["left_out"]:
        yield f"  {name:24} not installed"


def _situation(situation: str, results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield (
        f"{situation:26} {'time':>8} {'min – max':>15} {'× vh5d':>7} {'min – max':>13}"
        f" {'CPU':>8} {'memory':>9} {'store':>9}"
    )
    for each in results:
        found = each["situations"][situation]
        seconds, times = found["seconds"], found["times_vh5d"]
        yield (
            f"  {each['name']:24} {seconds['median']:6.2f} s {_range(seconds):>15}"
            f" {_short(times['median']):>7} {_range(times):>13}"
            f" {found['cpu_seconds']['median']:6.2f} s"
            f" {_memory(found['peak_rss']):>9} {amount(found['store_nbytes']):>9}"
        )


def _range(spread: Mapping[str, Any]) -> str:
    return f"{_short(spread['min'])} – {_short(spread['max'])}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _memory(nbytes: int) -> str:
    # A child's peak starts at what its parent has, until it is another program (vfork).
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"< {amount(own)}" if nbytes <= own else amount(nbytes)


def amount(nbytes: float) -> str:
    """Return a number of bytes as people read it."""
    return f"{nbytes / MIB:.0f} MiB" if nbytes >= 10 * MIB else f"{nbytes / MIB:.1f} MiB"
