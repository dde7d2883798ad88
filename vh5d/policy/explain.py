"""What a policy will do, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from vh5d.policy.model import Config, Policy
from vh5d.policy.notifications import KINDS, Notification
from vh5d.policy.retention_settings import Retention
from vh5d.policy.settings import DEFAULT_INCLUDE, Settings
from vh5d.policy.units import format_duration, format_size

_OPEN = {
    "wait": "a file that is open for writing waits for its close, at most that long",
    "skip": "a file that is open for writing is left alone until it is closed",
}
_COMPRESSION = {
    "auto": "what the source did not compress is compressed as every HDF5 reads it",
    "keep": "data is stored as the source has it",
    "none": "what the source did not compress is not compressed",
    "zstd": "what the source did not compress is compressed with Zstandard, which needs its plugin",
}
_PERIODS = ("hour", "day", "week", "month", "year")
_RULES = ("keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")


@dataclass(frozen=True)
class Sentence:
    """One thing that a policy does."""

    about: str
    text: str


def explain(policy: Policy, config: Config) -> list[Sentence]:
    """Return what `policy` does with the files that it has; secrets are not in it."""
    found = [
        Sentence("watches", _watches(policy)),
        Sentence("notices", _notices(policy, config)),
        Sentence("captures", "; ".join(_captures(policy))),
        Sentence("counts", "; ".join(_counts(policy))),
        Sentence("stores", "; ".join(_stores(policy))),
        Sentence("keeps", _keeps(policy.retention, config)),
        Sentence("limits", "; ".join(_limits(policy))),
        Sentence("queue", _queue(policy)),
        Sentence("runs", "; ".join(_runs(policy))),
        Sentence("tells", "; ".join(_tells(policy))),
    ]
    return [sentence for sentence in found if sentence.text]


def _watches(policy: Policy) -> str:
    entries = ", ".join(policy.watch)
    files = "HDF5 files by their suffixes"
    if policy.include != DEFAULT_INCLUDE:
        files = "files called " + ", ".join(policy.include)
    text = f"{entries}: {files}"
    if policy.exclude:
        text += f", but not {', '.join(policy.exclude)}"
    if not policy.recursive:
        text += "; directories below are not watched"
    if policy.symlinks == "skip":
        text += "; symbolic links are skipped"
    return text


def _notices(policy: Policy, config: Config) -> str:
    often = f"every {format_duration(policy.poll_interval)}"
    how = {
        "auto": f"by inotify, and where that hears nothing by a look {often}",
        "inotify": "by inotify",
        "polling": f"by a look {often}",
    }
    return f"changes {how[policy.observer]}; everything every {format_duration(config.rescan)}"


def _captures(policy: Policy) -> Iterator[str]:
    quiet, longest = format_duration(policy.settle), format_duration(policy.max_wait)
    yield f"when a file was quiet for {quiet}, or after {longest} of changes if it is whole"
    if policy.while_open == "swmr":
        often = format_duration(policy.swmr_interval)
        yield f"a file that grows under a SWMR writer every {often} meanwhile"
    else:
        yield _OPEN[policy.while_open]
    if policy.min_interval:
        yield f"two versions of a file are at least {format_duration(policy.min_interval)} apart"


def _counts(policy: Policy) -> Iterator[str]:
    changes = {"bytes": "any change of a file's bytes", "content": "a change of a file's content"}
    yield f"{changes[policy.significant]} makes a version"
    if not policy.datasets.all:
        parts = []
        if policy.datasets.include != ("**",):
            parts.append(f"only of {', '.join(policy.datasets.include)}")
        if policy.datasets.exclude:
            parts.append(f"not of {', '.join(policy.datasets.exclude)} alone")
        yield "; ".join(parts)
    if policy.follow:
        yield "linked files, virtual sources and external storage in the watched tree are kept too"


def _stores(policy: Policy) -> Iterator[str]:
    yield f"{policy.store}, versions called {policy.version_name}"
    yield _COMPRESSION[policy.compression]
    yield "a restore is bit for bit" if policy.exact else "a restore has the content, not the bytes"
    if policy.store_mode is not None:
        yield f"permissions {policy.store_mode:04o}"
    if policy.store_group is not None:
        yield f"group {policy.store_group}"


def _keeps(retention: Retention | None, config: Config) -> str:
    if retention is None:
        return "all versions, for ever"
    parts = []
    if retention.keep_last:
        parts.append("the last" if retention.keep_last == 1 else f"the last {retention.keep_last}")
    if retention.keep_within:
        parts.append(f"those of the last {format_duration(retention.keep_within)}")
    for rule, period in zip(_RULES, _PERIODS, strict=True):
        count = getattr(retention, rule)
        if count:
            newest = f"the newest of each of {count} {period}s"
            parts.append(newest if count > 1 else f"the newest of the last {period} with any")
    if retention.keep_tagged:
        parts.append("those with a tag")
    when = "when `vh5d prune` is run"
    if config.maintenance is not None:
        when = f"at {config.maintenance:%H:%M} each night"
    return f"{', '.join(parts)}; other versions go {when}"


def _limits(policy: Policy) -> Iterator[str]:
    limits = policy.limits
    if limits.file_size is not None:
        yield f"files larger than {format_size(limits.file_size)} are not captured"
    if limits.read_rate is not None:
        yield f"sources are read at {format_size(limits.read_rate)}/s at the most"
    if limits.concurrency is not None:
        yield f"at most {limits.concurrency} at a time"
    if limits.store_quota is not None:
        then = "old versions go first, then" if limits.on_quota == "prune" else "then"
        yield f"stores take {format_size(limits.store_quota)} at the most: {then} it is refused"


def _queue(policy: Policy) -> str:
    usual = Settings.model_fields
    if (policy.queue, policy.priority) == (usual["queue"].default, usual["priority"].default):
        return ""
    return f"captures wait in {policy.queue}, with {policy.priority} priority"


def _runs(policy: Policy) -> Iterator[str]:
    # Arguments may be secrets.
    if policy.hooks.after_capture:
        yield f"{policy.hooks.after_capture[0]} when a version was made"
    if policy.hooks.on_failure:
        yield f"{policy.hooks.on_failure[0]} when a capture failed"


def _tells(policy: Policy) -> Iterator[str]:
    for each in policy.notify:
        kinds = "whatever is wrong" if each.on == KINDS else " and ".join(each.on)
        yield f"{_whom(each)} of {kinds}, at most every {format_duration(each.at_most)}"
    if policy.stale_after is not None:
        yield f"stale is what did not change for {format_duration(policy.stale_after)}"


def _whom(notification: Notification) -> str:
    if notification.webhook is not None:
        # What follows the host often is the secret.
        return f"a webhook of {urlsplit(notification.webhook.get_secret_value()).hostname}"
    if notification.mail is not None:
        return notification.mail
    return (notification.command or ("",))[0]
