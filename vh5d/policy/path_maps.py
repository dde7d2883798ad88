r"""What a directory is called on this host, and what in the queue, for all hosts.

An acquisition PC has ``D:\data``, its file server calls that ``/mnt/instrument``: the PC's
configuration maps the first to the second. Names in the queue and the catalog have ``/`` between
their parts whatever host they come from. Pure text: no file system is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


@dataclass(frozen=True)
class _Map:
    """A directory, `here` and `there`, without a separator at the end."""

    here: str
    there: str

    @property
    def windows(self) -> bool:
        return _WINDOWS.match(self.here + "\\") is not None

    def to_shared(self, path: str) -> str | None:
        if not self.windows:
            rest = _below(path, self.here)
        else:
            # Windows takes either separator, and letters of either case for the same.
            path, here = path.replace("\\", "/"), self.here.replace("\\", "/")
            same = path[: len(here)].casefold() == here.casefold()
            rest = _below(path, path[: len(here)]) if same else None
        return None if rest is None else self.there + rest

    def to_local(self, name: str) -> str | None:
        rest = _below(name, self.there)
        if rest is None:
            return None
        return self.here + (rest.replace("/", "\\") if self.windows else rest)


class PathMaps:
    """Maps of a host, both ways; a path below none of them has one name everywhere.

    Parameters
    ----------
    maps
        What a directory is called here, and in the queue.
    """

    def __init__(self, maps: Sequence[tuple[str, str]] = ()) -> None:
        found = [_Map(_bare(here), _bare(there)) for here, there in maps]
        # The deepest directory that a path is below is the one that counts.
        self._outward = sorted(found, key=lambda each: -len(each.here))
        self._inward = sorted(found, key=lambda each: -len(each.there))

    def shared(self, path: str) -> str:
        """What a path of this host is called in the queue."""
        return next(filter(None, (each.to_shared(path) for each in self._outward)), path)

    def local(self, name: str) -> str:
        """What a name in the queue is called on this host."""
        return next(filter(None, (each.to_local(name) for each in self._inward)), name)


def _bare(directory: str) -> str:
    return directory.rstrip("/\\")


def _below(path: str, directory: str) -> str | None:
    """What follows `directory` in `path`, with its separator; None: it is not below it."""
    if path == directory:
        return ""
    return path[len(directory) :] if path.startswith(directory + "/") else None
