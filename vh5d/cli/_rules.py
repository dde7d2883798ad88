"""What `vh5d prune` does by rules: which stores, what goes, what it says of that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.confirm import confirm
from vh5d.cli.group import complain, explain
from vh5d.cli.locate import is_store, locate, stores_below
from vh5d.cli.options import Told, print_json
from vh5d.cli.progress import Interrupted, progress
from vh5d.cli.text import both_times, counted, duration, printable, table
from vh5d.errors import UsageError, VH5DError

if TYPE_CHECKING:
    from vh5d.policy import Config
    from vh5d.policy.retention_settings import Retention
    from vh5d.service.stores.thinning import Thinned
    from vh5d.store.prune import PruneResult

#: Bytes that are worth a word.
MUCH = 1 << 20
#: Each store with what to keep in it.
Plan = list[tuple[Path, "Retention"]]


def as_count(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:  # noqa: ARG001
    """Return how many to keep: a number, or ``unlimited``."""
    if value is None or value == "unlimited":
        return value
    if not value.isdigit():
        raise click.BadParameter(f"{value!r} is neither a number nor 'unlimited'")
    return int(value)


def as_zone(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> tzinfo | None:
    """Return the time zone of a name."""
    from zoneinfo import ZoneInfo

    try:
        return None if value is None else ZoneInfo(value)
    except (ValueError, OSError, LookupError):
        message = f"{value!r} is no time zone that this machine knows"
        raise click.BadParameter(message) from None


def rules_of(given: dict[str, Any]) -> Retention:
    """Return the rules that `--keep-…` say.

    Raises
    ------
    UsageError
        They cannot be meant.
    """
    from pydantic import ValidationError

    from vh5d.policy.retention_settings import Retention

    try:
        return Retention(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "-".join(["-", *map(str, first["loc"])]).replace("_", "-")
        context = first.get("ctx", {})
        problem = context.get("problem", first["msg"])
        raise UsageError(f"{name}: {problem}", hint=context.get("expected")) from None


def plan_by_rules(files: Iterable[str], store: str | None, told: Told, rules: Retention) -> Plan:
    """Return the stores of files, and of directories all that are below."""
    return [(each, rules) for each in _stores(files, store, told)]


def plan_by_policy(files: Iterable[str], store: str | None, told: Told, *, tagged: bool) -> Plan:
    """Return the stores, of files or all that the configuration means, whose policy has rules."""
    from vh5d.policy.places import files_of_stores

    config = told.config()
    if config is None:
        raise UsageError("--by-policy without --config", hint="say which policies: --config FILE")
    chosen = list(files)
    stores = _stores(chosen, store, told) if chosen else files_of_stores(config.policies)
    plan = []
    for each in stores:
        try:
            rules = _retention_of(each, config)
        except VH5DError as error:
            complain(explain(error))
            continue
        if rules is not None:
            kept = rules.model_copy(update={"keep_tagged": False}) if tagged else rules
            plan.append((each, kept))
        elif chosen:
            complain(f"{each}: its policy has no retention: all versions stay")
    return plan


def _retention_of(store: Path, config: Config) -> Retention | None:
    from vh5d.service.stores.thinning import owner

    if not any(policy.retention for policy in config.policies if policy.is_store(store)):
        return None
    policy = owner(store, config.policies) if is_store(store) else None
    return policy.retention if policy is not None else None


def _stores(files: Iterable[str], store: str | None, told: Told) -> Iterator[Path]:
    for file in files:
        if store is None and Path(file).is_dir():
            yield from stores_below(Path(file))
        else:
            yield locate(file, store, told).store


@dataclass
class Thinning:
    """Thins stores by their rules, and says so.

    Parameters
    ----------
    plan
        The stores with their rules.
    told
        The common options.
    zone
        Where days begin.
    """

    plan: Plan
    told: Told
    zone: tzinfo | None

    def __post_init__(self) -> None:
        self.failed = False
        self._now = datetime.now(UTC)

    def run(self, *, dry_run: bool, yes: bool) -> bool:
        """Do it, or show what it would do; whether all went well."""
        if not dry_run:
            confirm(self._question, yes=yes)
        self.failed = False
        done = []
        for each in self._thin(dry_run=dry_run):
            done.append(each)
            if not self.told.json:
                self._show(each, dry_run=dry_run)
        if self.told.json:
            print_json(
                {
                    "dry_run": dry_run,
                    "ok": not self.failed,
                    "dropped": sum(len(each.dropped) for each in done),
                    "bytes_returned": sum(each.bytes_returned for each in done),
                    "stores": [_as_json(each) for each in done],
                }
            )
        elif len(done) != 1:
            click.echo(_summary(done, dry_run=dry_run))
        return not self.failed

    def _question(self) -> str:
        from vh5d.policy.units import format_size

        found = list(self._thin(dry_run=True))
        dropped = sum(len(each.dropped) for each in found)
        stores = sum(bool(each.dropped) for each in found)
        returned = sum(each.bytes_returned for each in found)
        stay = sum(len(each.versions) for each in found) - dropped
        return (
            f"Drop {counted(dropped, 'version')} of {counted(stores, 'store')}? "
            f"{counted(stay, 'version')} would stay, {format_size(max(0, returned))} come back"
        )

    def _thin(self, *, dry_run: bool) -> Iterator[Thinned]:
        from vh5d.service.stores.thinning import thin

        stopped = False
        for store, rules in self.plan:
            if stopped:
                raise Interrupted(f"interrupted; {store} and what follows were not pruned")
            try:
                if not is_store(store):
                    continue
                with progress(store.name, undone="it was not pruned") as show:
                    thinned = thin(
                        store,
                        rules,
                        now=self._now,
                        zone=self.zone,
                        dry_run=dry_run,
                        progress=show.begun,
                    )
                stopped = show.stopped
                yield thinned
            except (VH5DError, OSError) as error:
                if len(self.plan) == 1:
                    raise
                complain(explain(error))
                self.failed = True

    def _show(self, thinned: Thinned, *, dry_run: bool) -> None:
        if dry_run:
            click.echo(_as_table(thinned))
        if dry_run or thinned.dropped or len(self.plan) == 1:
            click.echo(_as_text(thinned, dry_run=dry_run))
        if thinned.result is not None and thinned.result.hint is not None:
            complain(f"{thinned.store}: {thinned.result.hint}")


def _as_table(thinned: Thinned) -> str:
    rows = [
        (
            printable(version.name),
            both_times(version.timestamp),
            "stays" if verdict.kept else "goes",
            printable(", ".join(verdict.reasons)),
        )
        for version, verdict in zip(
            reversed(thinned.versions), reversed(thinned.verdicts), strict=True
        )
    ]
    return table(("version", "time", "", "because"), rows)


def _as_text(thinned: Thinned, *, dry_run: bool) -> str:
    from vh5d.policy.units import format_size

    name, gone = printable(thinned.store), len(thinned.dropped)
    left = counted(len(thinned.versions) - gone, "version")
    size = format_size(max(0, thinned.bytes_returned))
    if thinned.result is None:
        return f"{name}: nothing to drop, {left}"
    if dry_run:
        more = more_by_compact(thinned.result)
        return f"{name}: would drop {gone:,}; {left} would stay, {size} come back{more}"
    seconds = duration(thinned.result.seconds)
    more = more_by_compact(thinned.result)
    return f"{name}: dropped {gone:,}; {left} left, {size} came back, in {seconds}{more}"


def more_by_compact(result: PruneResult) -> str:
    """Say what holes leave unused, if it is much."""
    from vh5d.policy.units import format_size

    if not result.returned or result.bytes_left < MUCH:
        return ""
    return f"; `vh5d compact` would give back {format_size(result.bytes_left)} more"


def _summary(done: list[Thinned], *, dry_run: bool) -> str:
    from vh5d.policy.units import format_size

    stores = counted(len(done), "store")
    dropped = counted(sum(len(each.dropped) for each in done), "version")
    size = format_size(max(0, sum(each.bytes_returned for each in done)))
    if dry_run:
        return f"{stores}: {dropped} would go, {size} come back"
    return f"{stores}: {dropped} dropped, {size} came back"


def _as_json(thinned: Thinned) -> dict[str, Any]:
    result = thinned.result
    return {
        "store": str(thinned.store),
        "versions": [
            {
                "name": version.name,
                "timestamp": version.timestamp.isoformat(),
                "kept": verdict.kept,
                "reasons": list(verdict.reasons),
            }
            for version, verdict in zip(thinned.versions, thinned.verdicts, strict=True)
        ],
        "dropped": list(thinned.dropped),
        "bytes_returned": thinned.bytes_returned,
        "returned": result is None or result.returned,
        "hint": None if result is None else result.hint,
    }
