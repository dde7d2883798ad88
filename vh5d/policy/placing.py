"""Which policy has a path, and why others have not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vh5d.policy.match import Located, Matcher
from vh5d.policy.model import Config, Policy


@dataclass(frozen=True)
class Placement:
    """Who has a path.

    Attributes
    ----------
    policy, store
        The policy, and where the file's versions go; None: nobody has it.
    reasons
        Of every policy that was asked before that one, or of all: its name, and why not.
    """

    path: Path
    policy: Policy | None
    store: Path | None
    reasons: tuple[tuple[str, str], ...]


def place(config: Config, path: Path) -> Placement:
    """Find out which policy has `path`, as `Config.policy_for` does."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    owner = config.policy_for(path)
    reasons = []
    for policy in config.policies:
        if owner is not None and policy.name == owner.name:
            break
        reasons.append((policy.name, why_not(policy.matcher, path) or _store_of(config, path)))
    store = owner.store_for(path) if owner is not None else None
    return Placement(path, owner, store, tuple(reasons))


def why_not(matcher: Matcher, path: Path) -> str | None:
    """Return why `matcher` does not mean the file at `path`; None: it does."""
    found = matcher.locate(path)
    if found is None:
        outside = [each for each in matcher.entries if each.locate(str(path)) is not None]
        if outside:
            return f"a symbolic link leads out of {outside[0].path}, to {os.path.realpath(path)}"
        return "it is not in what the policy watches"
    return matcher.never(found) or _excluded(matcher, found) or _not_included(matcher, path, found)


def _excluded(matcher: Matcher, found: Located) -> str | None:
    for pattern in matcher.exclude:
        for each in (*reversed(found.relative.parents[:-1]), found.relative):
            if pattern.matches(found.root, each):
                what = "it" if each == found.relative else f"the directory {found.root / each}"
                return f"{pattern.text} excludes {what}"
    return None


def _not_included(matcher: Matcher, path: Path, found: Located) -> str | None:
    if matcher.matches(path):
        return None
    if matcher.is_too_deep(found):
        return "it is in a directory below, and the policy is not recursive"
    if any(pattern.matches(found.root, found.relative) for pattern in matcher.include):
        return "it is a symbolic link, or behind one, and the policy skips those"
    return f"its name is none of {', '.join(pattern.text for pattern in matcher.include)}"


def _store_of(config: Config, path: Path) -> str:
    owner = next(policy for policy in config.policies if policy.is_store(path))
    return f"it is where policy {owner.name} puts stores"
