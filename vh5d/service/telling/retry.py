"""Capturing again, by request, what failed or was given up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import Source, State
from vh5d.service.telling.survey import survey
from vh5d.service.watching.presence import is_absent


def retry(catalog: Catalog, paths: Sequence[str] | None) -> list[dict[str, Any]]:
    """Have the watcher ask for captures of these, or of all that failed.

    Returns
    -------
    list of dict
        `path`, its state `before`, its `error`, and why it was `refused`, or None.
    """
    if paths is None:
        bad = catalog.sources(map(catalog.local, survey(catalog.client).bad))
        return [_again(catalog, source) for source in list(bad) if _failed(source)]
    known = {source.path: source for source in catalog.sources(paths)}
    return [_again(catalog, known.get(path) or Source(path=path)) for path in paths]


def _failed(source: Source) -> bool:
    """Whether its state is not kept, not even by its bytes."""
    unread = source.state is State.UNREADABLE and source.kept_as != "bytes"
    return source.state in {State.FAILED, State.QUOTA, State.TOO_LARGE} or unread


def _again(catalog: Catalog, source: Source) -> dict[str, Any]:
    refused = _refusal(source)
    if refused is None:
        catalog.retries.at_request(Path(source.path), source.policy)
    return {
        "path": source.path,
        "before": source.state if source.policy else None,
        "error": source.error,
        "refused": refused,
    }


def _refusal(source: Source) -> str | None:
    if not source.policy:
        return "the service does not know it; `vh5d status` lists what it knows"
    if source.state in {State.QUEUED, State.CAPTURING}:
        return f"it is {source.state} already"
    if source.state is State.MISSING and is_absent(Path(source.path)):
        return "it is not there"
    return None
