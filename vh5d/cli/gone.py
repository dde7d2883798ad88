"""How a file went whose versions are there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vh5d.cli.text import local_time, printable
from vh5d.errors import VH5DError

if TYPE_CHECKING:
    from vh5d.cli.options import Told
    from vh5d.service.catalog.source import Source


def departure(source: Path | None, told: Told) -> dict[str, Any] | None:
    """Return how a file went, when and where to, as far as known; None: it is there.

    The disk tells that it went; the running service, if there is one, the rest.
    """
    how = _look(source) if source is not None else None
    if source is None or how is None:
        return None
    known = _ask(source, told)
    if known is None or known.gone is None or known.gone_at is None:
        return {"how": how, "at": None, "to": None}
    at = datetime.fromtimestamp(known.gone_at, UTC)
    return {"how": known.gone, "at": at.isoformat(timespec="seconds"), "to": known.moved_to}


def as_text(source: Path, gone: dict[str, Any]) -> str:
    """Return it in words."""
    to = f" to {printable(gone['to'])}" if gone["to"] else ""
    at = f" at {local_time(datetime.fromisoformat(gone['at']))}" if gone["at"] else ""
    is_ = "is" if gone["how"] == "gone" else "was"
    return f"{printable(source)} {is_} {gone['how']}{to}{at}; its versions are kept"


def _look(source: Path) -> str | None:
    try:
        return "emptied" if source.stat().st_size == 0 else None
    except FileNotFoundError:
        return "gone"
    except OSError:
        return None  # it cannot be seen: that says nothing


def _ask(source: Path, told: Told) -> Source | None:
    import redis

    from vh5d.service.telling.report import running_service

    try:
        catalog = running_service((), told.config_file, told.state, below=[str(source)])
        return catalog.source(source)
    except (VH5DError, redis.RedisError):
        return None
