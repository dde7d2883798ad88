"""What `vh5d status` says, for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from vh5d.cli.text import as_seen_from_here, counted, duration, printable, table
from vh5d.policy.units import format_size

_GOOD = {"current", "emptied", "growing", "missing"}


def text(found: dict[str, Any]) -> str:
    """Return a report (`vh5d.service.telling.report.report`) as lines."""
    lines: list[str] = []
    for policy in found["policies"]:
        lines += _policy(policy)
    hosts = {each["host"] for each in found["roots"]}
    for root in found["roots"]:
        where = f" on {root['host']}" if len(hosts) > 1 else ""
        why = f" ({root['reason']})" if root["reason"] else ""
        lines.append(f"{printable(root['path'])}{where}: {root['health']}{printable(why)}")
    lines += _members(found)
    lines += _queues(found)
    if not found["running"]:
        lines.append("not running (`vh5d up` starts it); this is what the stores hold")
    elif not found["queue"]:
        lines.append(f"the broker {found['broker']}; this is what the stores hold")
    lines.append(_sources(found["sources"]) if found["sources"] else "no HDF5 files yet")
    if found["queue"]:
        lines.append(_totals(found))
    return "\n".join(lines)


def _policy(policy: dict[str, Any]) -> list[str]:
    lines = [f"policy {policy['name']}: {', '.join(map(printable, policy['watch']))}"]
    if "files" not in policy:
        return lines
    words = [
        counted(policy["files"], "file"),
        counted(policy["versions_today"], "version") + " today",
    ]
    if policy["lag_p50"] is not None:
        fast, slow = duration(policy["lag_p50"]), duration(policy["lag_p99"])
        words.append(f"kept {fast} after coming to rest (99 of 100 within {slow})")
    if policy["backlog"]:
        words.append(f"{policy['backlog']:,} not kept yet")
    if policy["oldest_waiting"] is not None:
        words.append(f"the oldest waits for {duration(policy['oldest_waiting'])}")
    lines.append(f"  {', '.join(words)}")
    if policy["source_bytes"]:
        size, stored = format_size(policy["source_bytes"]), format_size(policy["stored_bytes"])
        saved = 1 - policy["stored_bytes"] / policy["source_bytes"]
        lines.append(f"  versions of {size} in {stored}: {max(0.0, saved):.0%} saved")
    if policy["quota"] is not None and policy["quota_used"] is not None:
        used, most = format_size(policy["quota_used"]), format_size(policy["quota"])
        lines.append(f"  stores take {used} of {most}")
    if policy["maintaining"]:
        lines.append("  its stores are being thinned")
    elif policy["maintained"] is not None:
        dropped = counted(policy["versions_dropped"], "version")
        lines.append(f"  thinned last at {_local(policy['maintained'])}; {dropped} dropped in all")
    return lines


def _members(found: dict[str, Any]) -> list[str]:
    """Return what is wrong with the processes of a service that runs."""
    lines = [
        f"{printable(each['file'])} was changed and is refused on {each['host']}, "
        f"the settings before are in force: {printable(each['reason'])}"
        for each in found.get("refused", ())
    ]
    members = [*found.get("watchers", ()), *found.get("workers", ())]
    for each in members:
        if each["lost"]:
            silent = duration(each["silent"])
            lines.append(f"{each['name']} was lost: not heard of for {silent}")
    if found["queue"] and not any(not each["lost"] for each in found["workers"]):
        lines.append("no worker is there: nothing is captured")
    return lines


def _queues(found: dict[str, Any]) -> list[str]:
    """Return how it goes in each queue if there are several, and those that nobody works on."""
    queues = found.get("queues", {})
    workers = [each["queues"] for each in found.get("workers", ()) if not each["lost"]]
    lines = []
    for name, queue in queues.items():
        taking = sum(name in each for each in workers)
        words = [f"{queue['waiting']:,} waiting", counted(taking, "worker")]
        if queue["oldest_waiting"] is not None:
            words.insert(1, f"the oldest for {duration(queue['oldest_waiting'])}")
        if queue["waiting"] and workers and not taking:
            lines.append(f"queue {name}: {queue['waiting']:,} waiting, no worker takes from it")
        elif len(queues) > 1:
            lines.append(f"queue {name}: {', '.join(words)}")
    return lines


def _sources(sources: list[dict[str, Any]]) -> str:
    rows = [(_state(each), each["version"] or "-", _name(each)) for each in sources]
    return table(("state", "version", "file"), rows)


def _name(source: dict[str, Any]) -> str:
    """Return a file's name, and what is to be said of it."""
    name, why = printable(as_seen_from_here(source["path"])), _why(source)
    return f"{name}: {why}" if why else name


def _state(source: dict[str, Any]) -> str:
    """Return where a source stands; of a capture that takes long, how far it is."""
    progress = source.get("progress")
    far = f" {progress:.0f} %" if source["state"] == "capturing" and progress is not None else ""
    return f"{source['state']}{far}"


def _local(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"


def _why(source: dict[str, Any]) -> str:
    if source.get("gone") and source["state"] in {"missing", "emptied"}:
        return printable(tombstone(source))
    error = printable(source["error"] or "")
    if source.get("next_try") is None or source["state"] in _GOOD:
        return error
    at = datetime.fromtimestamp(source["next_try"]).astimezone()
    return f"{error}; next try at {at:%H:%M:%S}" if error else ""


def tombstone(source: dict[str, Any]) -> str:
    """Return how a file went, and when."""
    to = f" to {source['moved_to']}" if source["moved_to"] else ""
    at = datetime.fromtimestamp(source["gone_at"]).astimezone()
    return f"{source['gone']}{to} at {at:%Y-%m-%d %H:%M:%S}; its versions are kept"


def _totals(found: dict[str, Any]) -> str:
    states = found["states"]
    count, listed = sum(states.values()), len(found["sources"])
    words = [counted(count, "file")]
    if listed < count:
        each = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
        words = [f"{listed:,} of {words[0]} listed (all: --all): {each}"]
    queue = found["queue"]
    return ", ".join([*words, f"{queue['waiting']} waiting, {queue['running']} at work"])
