"""Where the stores of a policy are, without looking for their sources."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vh5d.policy.model import Policy
from vh5d.policy.patience import ask


def store_places(policy: Policy) -> tuple[Path, ...]:
    """Return the directories that all of a policy's stores are below.

    Of ``/data/.vh5d/{path}`` that is ``/data/.vh5d``, of ``/srv/{name}.h5`` it is ``/srv``.
    """
    families = (policy.template.family(root, policy.name) for root in policy.roots)
    # What a source decides begins with a zero byte.
    return tuple(
        dict.fromkeys(
            Path(family.partition("\0")[0].rpartition("/")[0] or "/") for family in families
        )
    )


def is_here(policy: Policy) -> bool:
    """Whether this host sees any of a policy's stores, or where they would be."""
    places = store_places(policy)
    return any(ask(place.is_dir, otherwise=False) for place in places)


def files_of_stores(policies: Iterable[Policy]) -> Iterator[Path]:
    """Yield every file that is where a policy would put a store, each once, in order."""
    seen: set[Path] = set()
    for policy in policies:
        for place in store_places(policy):
            for above, directories, names in os.walk(place):
                directories.sort()
                for path in (Path(above, name) for name in sorted(names)):
                    if path not in seen and policy.is_store(path):
                        seen.add(path)
                        yield path
