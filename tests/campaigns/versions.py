"""Random histories, long: every version must stay what it was, whatever is done to its file.

    python -m tests.campaigns.versions --runs 5000

Each run is a file of its own, with up to `--steps` steps: versions staged, written, resized,
branched, aborted, deleted; files pruned, compacted, opened again. After each step every version is
compared with arrays in a dict. Half of the runs open the file with `vh5d.open`, half with the
user's own h5py.File. The seed is printed first; with `--seed` the runs are the same again. On a
difference the shortest program that shows it is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.version_machine import OwnFileMachine, VersionMachine

MACHINES = (VersionMachine, OwnFileMachine)
#: Runs from one seed: Hypothesis gets slower the more it remembers.
BATCH = 100


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Raw)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=None)
    return parser.parse_args(arguments)


class Raw(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the text as it is."""


def run(machine: type[VersionMachine], number: int, runs: int, steps: int) -> None:
    """Run one batch.

    Raises
    ------
    AssertionError, Exception
        What a run found; the program that shows it is in the notes.
    """
    chosen = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(seed(number)(machine), settings=chosen)


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; return the exit status."""
    told = options(arguments)
    first = secrets.randbelow(2**32) if told.seed is None else told.seed
    print(f"seed {first}", flush=True)
    started, done, batch = time.monotonic(), 0, 0
    while done < told.runs:
        runs = min(BATCH, told.runs - done)
        machine = MACHINES[batch % len(MACHINES)]
        try:
            run(machine, first + batch, runs, told.steps)
        except Exception:  # noqa: BLE001 - whatever a run found is what is to be told
            traceback.print_exc()
            print(f"failed: {machine.__name__} with --seed {first}, batch {batch}")
            return 1
        done, batch = done + runs, batch + 1
        print(f"{done} runs, {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
