"""The records of the sources in Redis, and the events that tell of their changes.

Keys, all below `vh5d:`::

    source:<path>    hash, a field of `Source` each, the values in JSON
    sources          sorted set of paths by the time of their last change of state
    events           capped stream of what happened

A path is what the queue calls it: a host that calls it otherwise has `PathMaps`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import redis

from vh5d.policy.path_maps import PathMaps
from vh5d.service.catalog.clock import BrokerClock
from vh5d.service.catalog.source import Source, State

PREFIX = "vh5d:"
#: Events that are remembered, at least: those of a night.
EVENTS_KEPT = 10_000
#: Sources that are read at a time.
BATCH = 500

_FIELDS = {field.name for field in fields(Source)}
#: Fields of sources and events that are paths.
_PATHS = frozenset({"store", "moved_from", "moved_to", "to"})


class Records:
    """Typed access to the records. Every method may raise `redis.RedisError`.

    Parameters
    ----------
    client
        From `address.connect`.
    clock
        Seconds since the epoch; the broker's own unless another is given.
    maps
        What this host calls otherwise than the others.
    """

    def __init__(
        self,
        client: redis.Redis,
        clock: Callable[[], float] | None = None,
        maps: PathMaps | None = None,
    ) -> None:
        self.client = client
        self._clock = clock or BrokerClock(client)
        self._maps = maps or PathMaps()
        self._host = socket.gethostname()

    def now(self) -> float:
        """What the clock says."""
        return self._clock()

    def local(self, name: str) -> str:
        """What this host calls a path that the queue names."""
        return self._maps.local(name)

    def shared(self, path: Path | str) -> str:
        """What the queue calls a path of this host."""
        return self._maps.shared(str(path))

    # Sources.

    def paths(self) -> list[str]:
        """All sources, sorted."""
        paths: Any = self.client.zrange(PREFIX + "sources", 0, -1)
        return sorted(self.local(str(path)) for path in paths)

    def source(self, path: Path | str) -> Source | None:
        """One source, or None when it was never heard of."""
        return next(iter(self.sources([path])), None)

    def sources(self, paths: Iterable[Path | str] | None = None) -> Iterator[Source]:
        """These sources, as far as known, or all in the order of their names."""
        names = self.paths() if paths is None else [str(path) for path in paths]
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            pipeline = self.client.pipeline(transaction=False)
            for name in batch:
                pipeline.hgetall(self.key(name))
            for name, values in zip(batch, pipeline.execute(), strict=True):
                if values:
                    yield self._parse(name, values)

    def put(self, pipeline: redis.client.Pipeline, path: Path | str, **values: Any) -> None:
        """Change fields of a source; what is no field of one is left out."""
        for name in _PATHS & values.keys():
            values[name] = values[name] and self.shared(values[name])
        mapping: Any = {
            name: json.dumps(value) for name, value in values.items() if name in _FIELDS
        }
        pipeline.hset(self.key(path), mapping=mapping)
        pipeline.zadd(PREFIX + "sources", {self.shared(path): self.now()})

    def key(self, path: Path | str) -> str:
        """Of the hash of a source."""
        return f"{PREFIX}source:{self.shared(path)}"

    def _parse(self, path: str, values: dict[str, str]) -> Source:
        known = {name: json.loads(value) for name, value in values.items() if name in _FIELDS}
        known |= {name: self.local(known[name]) for name in _PATHS if known.get(name)}
        known["state"] = State(known.get("state", State.SETTLING))
        return Source(**{**known, "path": path})

    # Events.

    def events(self, after: str = "0", count: int = 100) -> list[tuple[str, dict[str, Any]]]:
        """Events after the one of this id, oldest first: id, content."""
        entries: Any = self.client.xrange(PREFIX + "events", min=f"({after}", count=count)
        return [(entry, json.loads(values["event"])) for entry, values in entries]

    def tell(self, event: str, path: Path | None = None, **values: Any) -> None:
        """Something happened that no capture tells of."""
        pipeline = self.client.pipeline()
        self.tell_with(pipeline, path, event, **values)
        pipeline.execute()

    def tell_with(
        self, pipeline: redis.client.Pipeline, path: Path | str | None, event: str, **values: Any
    ) -> None:
        """Tell of an event in one step with what it tells of."""
        where = self.shared(path) if path is not None else None
        about = {"path": where, "event": event, "at": self.now(), "host": self._host}
        values |= {name: self.shared(values[name]) for name in _PATHS if values.get(name)}
        content = json.dumps({**about, **values})
        pipeline.xadd(PREFIX + "events", {"event": content}, maxlen=EVENTS_KEPT, approximate=True)
