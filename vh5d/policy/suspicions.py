"""What is allowed in a configuration, and most often a mistake."""

from __future__ import annotations

import grp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vh5d.policy.model import Config, Policy
from vh5d.policy.patience import ask


def suspicions(config: Config) -> list[str]:
    """Return what looks wrong on this machine, a line each."""
    found: list[str] = []
    for policy in config.policies:
        about = (*_watch(policy), *_stores(policy, config), *_programs(policy))
        about += (*_retention(policy, config), *_without_effect(policy))
        found += [f"policy {policy.name}: {text}" for text in about]
    return found + list(_overlaps(config))


def _watch(policy: Policy) -> Iterator[str]:
    for root in policy.roots:
        if not ask(root.is_dir, otherwise=False):
            yield f"{root} is not there, or does not answer; it is watched when it is"


def _stores(policy: Policy, config: Config) -> Iterator[str]:
    begin = policy.store.partition("{")[0]
    if begin and "{root}" not in policy.store:
        inside = [
            root
            for each in config.policies
            for root in each.roots
            if Path(begin).is_relative_to(root)
        ]
        if inside:
            yield f"its stores lie in {inside[0]}, which is watched; say {{root}}/.vh5d, or outside"
    if policy.store_group is not None and not _may_give(policy.store_group):
        yield f"this user cannot give stores to the group {policy.store_group}"


def _may_give(group: str) -> bool:
    try:
        number = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        return False
    return os.geteuid() == 0 or number in {os.getegid(), *os.getgroups()}


def _programs(policy: Policy) -> Iterator[str]:
    commands = [policy.hooks.after_capture, policy.hooks.on_failure]
    commands += [each.command for each in policy.notify]
    for command in filter(None, commands):
        if shutil.which(command[0]) is None:
            yield f"there is no program {command[0]}"


def _retention(policy: Policy, config: Config) -> Iterator[str]:
    limits = policy.limits
    if policy.retention is not None and config.maintenance is None:
        yield "maintenance is off: its retention applies only when `vh5d prune` is run"
    if policy.retention is None and limits.store_quota is not None and limits.on_quota == "prune":
        yield "there is no retention to thin by: at the quota, captures are refused at once"


def _without_effect(policy: Policy) -> Iterator[str]:
    if "swmr_interval" in policy.model_fields_set and policy.while_open != "swmr":
        yield "swmr_interval has an effect with while_open: swmr only"
    if policy.stale_after is not None and not any("stale" in each.on for each in policy.notify):
        yield "stale_after, but nobody is told: notify has no stale"
    if policy.min_interval > policy.max_wait:
        yield "min_interval is longer than max_wait: files that keep changing wait for it"


def _overlaps(config: Config) -> Iterator[str]:
    policies = config.policies
    for i, first in enumerate(policies):
        for second in policies[i + 1 :]:
            shared = next(
                (
                    max(a, b, key=lambda path: len(path.parts))
                    for a in first.roots
                    for b in second.roots
                    if a.is_relative_to(b) or b.is_relative_to(a)
                ),
                None,
            )
            if shared is not None:
                yield (
                    f"policies {first.name} and {second.name} both watch {shared}: "
                    f"what both mean is {first.name}'s, which comes first"
                )
