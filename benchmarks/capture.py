"""How long it takes to keep a state of a large file, and what it costs on the disk.

    python benchmarks/capture.py                    # 1000 MiB, 3 rounds: some minutes
    python benchmarks/capture.py --size 100 --runs 5 --only borg restic --json

A detector stack (uint16 Poisson counts, a 512 x 512 frame a chunk, unfiltered) is captured when it
is new, when 1 % of its frames were rewritten in place, and when nothing changed, by vh5d and
others in turn: whole processes, with new stores in every round. README.md has the details.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contestants import CONTESTANTS, HERE, SOURCE, Contestant, Moment, Vh5d
from report import MIB, Sample, amount, summary, table

FRAMES_A_MIB = 2
PART_CHANGED = 0.01
SITUATIONS = ("first capture", "1 % of the frames changed", "nothing changed")


@dataclass
class Findings:
    """All that was measured.

    Attributes
    ----------
    samples
        By contestant and situation, one a round.
    same_bytes
        By contestant: whether both states of the last round came back as they were; None where it
        gives no files back.
    """

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    same_bytes: dict[str, bool | None] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    versions = {each: each.version() for each in CONTESTANTS}
    if versions[Vh5d] is None:
        sys.exit(f"there is no {Vh5d.command}: install vh5d into this environment")
    wanted = [each for each in CONTESTANTS if each is Vh5d or _asked(each, options.only)]
    present = [each for each in wanted if versions[each] is not None]
    for each in wanted:
        if each not in present:
            say(f"{each.name} is left out: it is not installed")
    with tempfile.TemporaryDirectory(prefix="vh5d-benchmark-", dir=options.dir) as directory:
        work = Path(directory)
        _check_room(work, options.size, len(present))
        findings = measure(work, present, options)
    setting = {
        "size_mib": options.size,
        "frames": options.size * FRAMES_A_MIB,
        "seed": options.seed,
        "rounds": options.runs,
        "page_cache": "warm",
        "file_system": _file_system(options.dir),
        "processors": len(os.sched_getaffinity(0)),
        "load_before": round(options.load, 2),
        "python": platform.python_version(),
        "left_out": [each.name for each in wanted if each not in present],
    }
    results = [
        {
            "name": each.name,
            "version": versions[each],
            "durable": each.durable,
            "same_bytes": findings.same_bytes[each.name],
            "situations": summary(findings.samples[each.name], findings.samples[Vh5d.name]),
        }
        for each in present
    ]
    if options.json:
        print(json.dumps({**setting, "contestants": results}, indent=2))
    else:
        print("\n".join(table(setting, results)))
    if False in findings.same_bytes.values():
        sys.exit("not everyone gave the same bytes back")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=_positive, default=1000, help="MiB of frames (1000)")
    parser.add_argument("--runs", type=_positive, default=3, help="rounds (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the counts (1)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="vh5d and those whose names begin so"
    )
    parser.add_argument("--dir", type=Path, default=_a_disk(), help="where to work (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    options.load = os.getloadavg()[0]
    return options


def measure(
    work: Path, present: Sequence[type[Contestant]], options: argparse.Namespace
) -> Findings:
    """Run all rounds in a directory."""
    findings = Findings()
    (work / SOURCE).parent.mkdir()
    say(f"making {options.size} MiB in {work}, seed {options.seed}")
    _detector(work, "make", "--frames", options.size * FRAMES_A_MIB, "--seed", options.seed)
    for number in range(options.runs):
        rooms = work / f"round-{number}"
        contestants = []
        for kind in present:
            room = rooms / kind.__name__
            room.mkdir(parents=True)
            contestants.append(kind(room))
        # Nobody always comes first, or always after the same one.
        turn = number % len(contestants)
        in_turn = contestants[turn:] + contestants[:turn]
        digests = _round(work, in_turn, options.seed + 1 + number, findings)
        if number == options.runs - 1:
            for each in contestants:
                findings.same_bytes[each.name] = _gives_back(work, each, digests)
        shutil.rmtree(rooms)
    return findings


def _round(
    work: Path, contestants: Sequence[Contestant], seed: int, findings: Findings
) -> dict[int, str]:
    """Let everyone capture the three situations; return the states' digests."""
    digests = {}
    frames: tuple[int, ...] = ()
    for each in contestants:
        command = each.prepare()
        if command is not None:
            run(command, work, each)
    for number, situation in enumerate(SITUATIONS, 1):
        if number == 2:
            changed = _detector(work, "change", "--part", PART_CHANGED, "--seed", seed)
            frames = tuple(json.loads(changed))
        moment = Moment(number, frames if number == 2 else ())
        _touch_something_newer(work)
        digests[number] = _sha256(work / SOURCE)  # reads it into the page cache, too
        for each in contestants:
            os.sync()  # nobody waits for what others left to be written
            sample = run(each.capture(moment), work, each)
            of_each = findings.samples.setdefault(each.name, {})
            of_each.setdefault(situation, []).append(sample)
            say(f"{situation}: {each.name} {sample.seconds:.2f} s")
    return digests


def run(command: Sequence[str], work: Path, contestant: Contestant) -> Sample:
    """Run a command and its children; a failure ends the benchmark with what it said."""
    environment = {**os.environ, **contestant.environment()}
    with (work / "output").open("w+b") as output:
        started = time.perf_counter()
        with subprocess.Popen(
            command, cwd=work, env=environment, stdout=output, stderr=output
        ) as process:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            sys.exit(f"{' '.join(command)}: exit status {process.returncode}\n{said}")
    return Sample(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_rss=usage.ru_maxrss * 1024,  # KiB, getrusage(2)
        store_nbytes=contestant.store_nbytes(),
    )


def _gives_back(work: Path, contestant: Contestant, digests: dict[int, str]) -> bool | None:
    for number in (1, 2):
        out = work / "out"
        command = contestant.restore(Moment(number), out)
        if command is None:
            return None
        (out / SOURCE).parent.mkdir(parents=True)
        run(command, work, contestant)
        came_back = _sha256(out / SOURCE)
        shutil.rmtree(out)
        if came_back != digests[number]:
            return False
    return True


def _detector(work: Path, action: str, *arguments: object) -> str:
    # In a process of its own: this one stays small, see report._memory.
    command = [sys.executable, str(HERE / "detector.py"), action, str(SOURCE)]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=work, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def _touch_something_newer(work: Path) -> None:
    """Put a newer file beside the source.

    borg does not remember the newest file it saw, and would read it again (its FAQ says so). A
    directory where something else is newer is the usual case.
    """
    (work / SOURCE).with_name("newer").write_text(f"{time.time()}\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _asked(kind: type[Contestant], only: Sequence[str] | None) -> bool:
    return only is None or any(kind.name.startswith(each) for each in only)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected a positive number")
    return number


# Where


def _a_disk() -> Path:
    """Return a directory for temporary files that is on a disk rather than in memory, if any is."""
    candidates = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]  # noqa: S108
    for each in candidates:
        if each.is_dir() and os.access(each, os.W_OK) and _file_system(each) != "tmpfs":
            return each
    return candidates[0]


def _file_system(directory: Path) -> str:
    said = subprocess.run(
        ["df", "--output=fstype", str(directory)], capture_output=True, text=True, check=False
    )
    return said.stdout.split()[-1] if said.returncode == 0 else "unknown"


def _check_room(work: Path, size: int, contestants: int) -> None:
    needed = (2 + 3 * contestants) * size * MIB  # at worst: the copies are the largest
    free = shutil.disk_usage(work).free
    if free < needed:
        sys.exit(f"{work}: {amount(free)} free, up to {amount(needed)} needed; --dir elsewhere")


def say(text: str) -> None:
    """Tell how it goes, on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
