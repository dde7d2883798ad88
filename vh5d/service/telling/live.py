"""What `vh5d up` shows: a live view on a terminal, log lines elsewhere."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from vh5d.policy.units import format_size
from vh5d.service.catalog.source import State
from vh5d.service.running import logs

#: Versions and messages that the live view keeps in sight.
VERSIONS_SHOWN = 12
MESSAGES_SHOWN = 4


@dataclass(frozen=True)
class Overview:
    """How the service is doing."""

    states: dict[State, int] = field(default_factory=dict)
    waiting: int = 0
    running: int = 0


@dataclass(frozen=True)
class Introduction:
    """What is watched, and where things are."""

    watched: tuple[str, ...]
    stores: tuple[str, ...]
    state: Path
    settle: str

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"watching {', '.join(self.watched)}; a file is kept once quiet for {self.settle}",
            f"versions in {', '.join(self.stores)}; state in {self.state}",
        ]


class View(Protocol):
    """Shows what happens."""

    def start(self, introduction: Introduction) -> None:
        """The service is about to begin, or follows another configuration."""

    def record(self, record: dict[str, Any]) -> None:
        """Something happened."""

    def overview(self, overview: Overview) -> None:
        """How things stand, every second or so."""

    def stop(self) -> None:
        """The service has ended."""


class LineView:
    """One line for everything that happens.

    Parameters
    ----------
    style
        Text, or JSON.
    """

    def __init__(self, style: logs.Format) -> None:
        self._style = style

    def start(self, introduction: Introduction) -> None:
        """Say what is watched."""
        if self._style == "json":
            self.record({"event": "started", "level": "info", **vars(introduction)})
            return
        for line in introduction.lines():
            self.record({"event": line, "level": "info"})

    def record(self, record: dict[str, Any]) -> None:
        """Write a line."""
        if self._style == "text" and record.get("event") in logs.STEPS:
            return
        record.setdefault("timestamp", datetime.now().astimezone().isoformat())
        line = logs.json_line(record) if self._style == "json" else logs.text_line(record)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def overview(self, overview: Overview) -> None:
        """Not in a log."""

    def stop(self) -> None:
        """Nothing to put away."""


class LiveView:
    """A screen that is kept up to date, by rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._introduction = Introduction((), (), Path(), "")
        self._versions: deque[dict[str, Any]] = deque(maxlen=VERSIONS_SHOWN)
        self._messages: deque[dict[str, Any]] = deque(maxlen=MESSAGES_SHOWN)
        self._overview = Overview()
        self._stopped = False
        self._count = 0
        self._added = 0

    def start(self, introduction: Introduction) -> None:
        """Open the view."""
        self._introduction = introduction
        self._live.start()
        self._draw()

    def record(self, record: dict[str, Any]) -> None:
        """Show a version, or a message."""
        if record.get("event") == "version":
            self._versions.append(record)
            self._count += 1
            self._added += int(record.get("bytes_added") or 0)
        elif record.get("level") != "debug" and record.get("event") not in logs.STEPS:
            self._messages.append(record)
        self._draw()

    def overview(self, overview: Overview) -> None:
        """Show how things stand."""
        self._overview = overview
        self._draw()

    def stop(self) -> None:
        """Leave the last state of the view on the terminal."""
        self._stopped = True
        self._draw()
        self._live.stop()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        parts: list[Any] = [Text(line, style="dim") for line in self._introduction.lines()]
        parts += [Text(), self._table() if self._versions else self._nothing_yet(), Text()]
        parts += [Text(logs.text_line(record), style="yellow") for record in self._messages]
        parts.append(self._totals())
        if not self._stopped:
            parts.append(Text("Ctrl-C stops; nothing is lost", style="dim"))
        self._live.update(Group(*parts), refresh=True)

    def _nothing_yet(self) -> Any:
        from rich.text import Text

        return Text(f"waiting for HDF5 files in {', '.join(self._introduction.watched)} …")

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("kept at", "file", "version", "added", "of", "took"):
            justify: Literal["left", "right"] = "left" if title in {"file", "version"} else "right"
            table.add_column(title, justify=justify, no_wrap=title != "file", overflow="fold")
        for record in self._versions:
            table.add_row(
                logs.text_line(record)[11:19],
                self._name(str(record["path"])),
                str(record["version"]),
                format_size(int(record["bytes_added"])),
                format_size(int(record["source_bytes"])),
                f"{float(record['seconds']):.2f} s",
            )
        return table

    def _name(self, path: str) -> str:
        for root in self._introduction.watched:
            if path.startswith(root + "/"):
                path = path[len(root) + 1 :]
                break
        return logs.printable(path)

    def _totals(self) -> Any:
        from rich.text import Text

        states = ", ".join(f"{n} {state}" for state, n in sorted(self._overview.states.items()))
        files = sum(self._overview.states.values())
        queue = f"{self._overview.waiting} waiting, {self._overview.running} at work"
        return Text(
            f"{_counted(files, 'file')} ({states or 'none yet'}) · "
            f"{_counted(self._count, 'version')}, "
            f"{format_size(self._added)} added · queue: {queue}",
            style="bold",
        )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
