"""What an examination found."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "note", "bites"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    check
        What was looked at.
    level
        `bites`: changes will be missed, captures or the service fail; `note`: good to know.
    message
        What was found, in one line.
    mend
        What to do about it: a command, where one does it.
    """

    check: str
    level: Level
    message: str
    mend: str | None = None


def quoted(path: Path | str) -> str:
    """A path for a command line."""
    return shlex.quote(str(path))
