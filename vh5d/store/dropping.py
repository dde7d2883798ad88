"""Versions taken out of a store, the rest kept in order."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import h5py

from vh5d.errors import UsageError, VersionNotFoundError
from vh5d.store import chain, layout, tags
from vh5d.store.dead_rows import bury
from vh5d.store.pools import Pools
from vh5d.store.reachability import Reached
from vh5d.store.seals import hand_on
from vh5d.store.versions import VersionInfo, list_versions

Chosen = Collection[str] | Callable[[VersionInfo], bool]


@dataclass(frozen=True)
class Selection:
    """Which versions go.

    Attributes
    ----------
    dropped
        Names of those that go, oldest first.
    kept
        Names of those that stay, oldest first.
    parents
        By name, the previous version of every version that is there now.
    """

    dropped: tuple[str, ...]
    kept: tuple[str, ...]
    parents: dict[str, str]

    def ancestor(self, name: str) -> str:
        """Return the nearest version at or before `name` that stays.

        That of the first version is `__first_version__`; a version without a parent has none.
        """
        gone = set(self.dropped)
        while name in gone:
            name = self.parents[name]
        return name


def select(
    file: h5py.File, chosen: Chosen, *, allow_empty: bool = False, tagged: bool = False
) -> Selection:
    """Return which versions go.

    Parameters
    ----------
    file
        The store.
    chosen
        Their names, or what says of a version whether it goes.
    allow_empty
        Whether all may go.
    tagged
        Whether those that have a tag may go.

    Raises
    ------
    VersionNotFoundError
        There is no version of such a name.
    UsageError
        None would stay, or one that goes has a tag.
    """
    parents = _parents(file)
    names = list(parents)
    if callable(chosen):
        going = {version.name for version in list_versions(file) if chosen(version)}
    else:
        going = {chosen} if isinstance(chosen, str) else set(chosen)
        for name in sorted(going.difference(names)):
            raise VersionNotFoundError(f"no version {name!r}", hint="`vh5d log` lists them")
    if going and len(going) == len(names) and not allow_empty:
        raise UsageError(
            "no version would be left", hint="keep one, or delete the store if that is meant"
        )
    if not tagged:
        tags.refuse_tagged(file, going)
    return Selection(
        dropped=tuple(name for name in names if name in going),
        kept=tuple(name for name in names if name not in going),
        parents=parents,
    )


def _parents(file: h5py.File) -> dict[str, str]:
    """Return the previous version of each, oldest first; not all else that is known of them."""
    found = []
    for name, group in file[layout.VERSIONS].items():
        attributes = group.attrs
        if name != layout.FIRST_VERSION and attributes.get("committed", False):
            found.append((int(attributes["sequence"]), name, str(attributes["prev_version"])))
    return {name: parent for _, name, parent in sorted(found)}


def drop(file: h5py.File, pools: Pools, selection: Selection, reached: Reached) -> int:
    """Unlink versions and their images, and mark the chunks that nothing else has as dead.

    Parameters
    ----------
    file
        The store, open for writing.
    pools
        Its pools, in which nothing is staged.
    selection
        What goes and what stays.
    reached
        What those that stay lead to.

    Returns
    -------
    How many chunks were dropped.
    """
    versions, images = file[layout.VERSIONS], file[layout.IMAGES]
    gone = set(selection.dropped)
    for name in selection.kept:
        if selection.parents[name] in gone:
            versions[name].attrs["prev_version"] = selection.ancestor(selection.parents[name])
    current = str(versions.attrs["current_version"])
    if current in gone:
        versions.attrs["current_version"] = _next_current(selection, current)
    hand_on(
        file,
        {name: selection.parents[name] for name in selection.dropped},
        {name: selection.parents[name] for name in selection.kept},
    )
    numbers = [int(versions[name].attrs["sequence"]) for name in selection.dropped]
    chain.mark_dropped(file, numbers)
    tags.forget(file, numbers)
    for name in selection.dropped:
        del versions[name]
        if name in images:
            del images[name]
    return bury(file, pools, reached.rows)


def _next_current(selection: Selection, current: str) -> str:
    ancestor = selection.ancestor(current)
    if ancestor in selection.kept or not selection.kept:
        return ancestor or layout.FIRST_VERSION
    return selection.kept[-1]
