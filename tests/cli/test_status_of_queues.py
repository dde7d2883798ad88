from __future__ import annotations

import pytest

from vh5d.cli.status_text import text

NOTHING = {"policies": [], "roots": [], "sources": [], "states": {}, "running": True}
BUSY = {"waiting": 3, "running": 1}
WORKER = {"name": "h:1", "queues": ["fast"], "lost": False}


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ({"fast": (3, 5.0)}, []),
        ({"slow": (3, 5.0)}, ["queue slow: 3 waiting, no worker takes from it"]),
        (
            {"fast": (0, None), "slow": (0, None)},
            ["queue fast: 0 waiting, 1 worker", "queue slow: 0 waiting, 0 workers"],
        ),
        (
            {"fast": (2, 65.0), "slow": (0, None)},
            ["queue fast: 2 waiting, the oldest for ", "queue slow: 0 waiting, 0 workers"],
        ),
    ],
)
def test_queues_are_shown_if_there_are_several_or_nobody_takes_from_them(queues, said):
    shown = {name: {"waiting": n, "oldest_waiting": oldest} for name, (n, oldest) in queues.items()}
    found = {**NOTHING, "queue": BUSY, "queues": shown, "workers": [WORKER], "watchers": []}
    lines = [line for line in text(found).splitlines() if line.startswith("queue ")]
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))
