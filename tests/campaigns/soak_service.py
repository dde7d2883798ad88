"""`vh5d` with another clock on the wall: what the soak runs.

    python -m tests.campaigns.soak_service CLOCK up --config FILE …

CLOCK is a `LabClock` as JSON. Only what the wall's clock decides goes by it: the times of versions,
the nights, how old a version is. Whatever waits, waits as long as ever.
"""

from __future__ import annotations

import json
import sys

from tests.support.lab_clock import LabClock
from vh5d.cli import main
from vh5d.service.running.surroundings import Surroundings


def run(arguments: list[str]) -> None:
    told, *rest = arguments
    program = ("-m", "tests.campaigns.soak_service", told)
    main(rest, obj=Surroundings(LabClock(**json.loads(told)), program))


if __name__ == "__main__":
    run(sys.argv[1:])
