"""The settings: what is watched, when it is captured, where it is kept."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Sequence
from datetime import datetime, time
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from vh5d.errors import UsageError
from vh5d.policy.block import Block
from vh5d.policy.fields import (
    Broker,
    Duration,
    Listening,
    Patterns,
    SomePatterns,
    StateDirectory,
    TimeOfDay,
    Workers,
    absolute,
    reject,
    seconds,
)
from vh5d.policy.globs import EXPECTED as GLOB_EXPECTED
from vh5d.policy.match import Matcher, WatchedDirectory
from vh5d.policy.path_maps import PathMaps
from vh5d.policy.reach import Mail, PathMap
from vh5d.policy.settings import BLOCKS, Name, Settings, attempt
from vh5d.policy.store_template import EXPECTED as TEMPLATE_EXPECTED
from vh5d.policy.store_template import StoreTemplate
from vh5d.policy.version_template import VersionTemplate


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class Policy(Settings):
    """What to watch, and how. Durations are in seconds, paths in `watch` absolute."""

    name: Name = Field(description="How logs, tasks and {policy} call it.")
    watch: SomePatterns = Field(description="A directory, a file or a glob; a list of them too.")

    @field_validator("watch")
    @classmethod
    def _absolute_globs(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        watch = tuple(absolute(entry, info) for entry in value)
        attempt(Matcher.build, watch, (), (), expected=GLOB_EXPECTED)
        return watch

    @model_validator(mode="after")
    def _one_store_a_source(self) -> Self:
        """Two sources in one store would mix their histories; a store must not be a source."""
        fields = self.template.fields
        if "path" not in fields and not self.matcher.names_one_file:
            problem = "two files of the same name would share a store"
            reject(problem, "expected {path} in it", key="store")
        if len(self.roots) > 1 and "root" not in fields:
            problem = "files of the same path in two watched directories would share a store"
            reject(problem, "expected {root} in it", key="store")
        suffixes = [pattern[1:] for pattern in self.include if pattern.startswith("*.")]
        names = ["a", *(f"{above}a{suffix}" for suffix in suffixes for above in ("", "b/"))]
        if any(self.is_store(root / name) for root in self.roots for name in names):
            reject("a store could take the place of a source", TEMPLATE_EXPECTED, key="store")
        return self

    @cached_property
    def watched(self) -> tuple[WatchedDirectory, ...]:
        """The directories to be told about; looked up once, lest a share that hangs hang us."""
        entries, wide = self.matcher.entries, self.recursive
        return tuple(dict.fromkeys(each.watched(self.include, recursive=wide) for each in entries))

    @property
    def roots(self) -> tuple[Path, ...]:
        """The directories that sources are below: ``{root}``."""
        return tuple(dict.fromkeys(directory.path for directory in self.watched))

    def root_of(self, path: Path) -> Path | None:
        """Return the watched directory that `path` is below, if any.

        A path that leads out of it through a symbolic link is not below it.
        """
        found = self.matcher.locate(path)
        return found.root if found else None

    def leads_inside(self, path: Path, real: Path) -> bool:
        """Whether `real`, which `path` turned out to be, is where this policy watches."""
        root = self.root_of(path)
        inside = root is not None and real.is_relative_to(os.path.realpath(root))
        return inside or self.root_of(real) is not None

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` is to be kept, going by its name and place.

        Stores never are, nor are hidden files, journals and locks. Of several
        policies only the first counts: `Config.policy_for`.
        """
        return self.matcher.matches(path) and not self.is_store(path)

    def skips(self, directory: Path) -> bool:
        """Whether nothing below `directory` can match, so that a walk need not go there."""
        return self.matcher.skips(directory)

    def is_store(self, path: Path) -> bool:
        """Whether `path` is where this policy would put a store."""
        text = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
        return any(self.template.pattern(root, self.name).fullmatch(text) for root in self.roots)

    def store_for(self, path: Path) -> Path:
        """Return the store of the source at `path`; with ``{date}``, the one that it has.

        Raises
        ------
        UsageError
            `path` is not below a directory that this policy watches.
        """
        found = self.matcher.locate(path)
        if found is None:
            message = f"{path}: not below a directory that policy {self.name!r} watches"
            raise UsageError(message, hint=f"it watches {', '.join(self.watch)}")
        place = (found.root, found.relative, self.name)
        if "date" not in self.template.fields:
            return self.template.render(*place)
        dates = self.template.dates(*place)
        return self.template.render(*place, dates[0] if dates else _day_of(path))

    @cached_property
    def matcher(self) -> Matcher:
        """`watch`, `include`, `exclude` and `symlinks`, compiled."""
        how = {"links": self.symlinks == "inside", "recursive": self.recursive}
        return Matcher.build(self.watch, self.include, self.exclude, **how)

    @cached_property
    def template(self) -> StoreTemplate:
        """`store`, compiled."""
        return StoreTemplate.parse(self.store)

    @cached_property
    def version_template(self) -> VersionTemplate:
        """`version_name`, compiled."""
        return VersionTemplate.parse(self.version_name)


class Config(Block):
    """All settings of a service."""

    model_config = ConfigDict(title="vh5d configuration")

    broker: Broker = Field(
        "embedded", repr=False, description="The queue: a private one, or a URL."
    )
    state: StateDirectory = Field(
        None, description="Where the service keeps its socket, queue and logs."
    )
    rescan: Duration = seconds(300.0, "Look at everything this often.")
    workers: Workers = Field(
        default_factory=_cores, description="Captures at a time; the number of cores."
    )
    maintenance: TimeOfDay = Field(
        time(2, 30),
        json_schema_extra={"default": "02:30"},
        description="When retention is applied each night, in local time; off: never.",
    )
    path_maps: tuple[PathMap, ...] = Field(
        (), description="What directories are called here, and in the queue for all hosts."
    )
    mail: Mail | None = Field(None, description="The server for notifications by mail.")
    metrics: Listening = Field(None, description="HOST:PORT where Prometheus finds metrics.")
    include: Patterns = Field((), description="Other YAML files, whose policies are added.")
    defaults: Settings = Field(Settings(), description="What policies leave out.")
    policies: tuple[Policy, ...] = Field(description="The first that matches a file has it.")

    @model_validator(mode="before")
    @classmethod
    def _fill_policies(cls, value: Any) -> Any:
        """Give every policy the defaults, and a name if it has none."""
        if not isinstance(value, dict) or not isinstance(value.get("policies"), list | tuple):
            return value
        defaults = value.get("defaults")
        common = defaults if isinstance(defaults, dict) else {}
        taken = [each.get("name") for each in value["policies"] if isinstance(each, dict)]
        policies = []
        for each in value["policies"]:
            if isinstance(each, dict):
                merged = {**common, **each, **_merged_blocks(common, each)}
                if "name" not in each:
                    merged["name"] = _free_name(each.get("watch"), taken)
                    taken.append(merged["name"])
                policies.append(merged)
            else:
                policies.append(each)
        return {**value, "policies": policies}

    @field_validator("rescan")
    @classmethod
    def _not_all_the_time(cls, value: float) -> float:
        if value < 1.0:
            reject("this is too often", "expected at least 1s")
        return value

    @field_validator("policies")
    @classmethod
    def _told_apart(cls, value: tuple[Policy, ...]) -> tuple[Policy, ...]:
        if not value:
            reject("the list is empty", "expected at least one policy with a watch")
        families: dict[str, tuple[Path, int]] = {}
        names: set[str] = set()
        for i, policy in enumerate(value):
            if policy.name in names:
                problem = f"another policy is called {policy.name!r}"
                reject(problem, "expected a name of its own", key=f"{i}.name")
            names.add(policy.name)
            for root in policy.roots:
                other, j = families.setdefault(policy.template.family(root, policy.name), (root, i))
                if other != root:
                    problem = f"policy {value[j].name!r} keeps other files in the same stores"
                    reject(problem, "expected {root} or {policy} in it", key=f"{i}.store")
        return value

    @field_validator("path_maps", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        if value is not None and not isinstance(value, list | tuple):
            reject("this is not a list", "expected a list, each with from and to")
        return value or ()

    @model_validator(mode="after")
    def _mail_can_go(self) -> Self:
        for i, policy in enumerate(self.policies):
            if self.mail is None and any(each.mail for each in policy.notify):
                problem = "a notification by mail, but no server that takes it"
                reject(problem, "expected mail: {server, from}", key=f"policies.{i}.notify")
        return self

    @cached_property
    def names(self) -> PathMaps:
        """What this host calls otherwise than the queue."""
        return PathMaps([(each.from_, each.to) for each in self.path_maps])

    def policy(self, name: str) -> Policy:
        """Return the policy called `name`.

        Raises
        ------
        UsageError
            There is none.
        """
        for policy in self.policies:
            if policy.name == name:
                return policy
        hint = f"there are {', '.join(policy.name for policy in self.policies)}"
        message = f"there is no policy {name!r}"
        raise UsageError(message, hint=hint)

    def policy_for(self, path: Path) -> Policy | None:
        """Return the first policy that means the file at `path`; stores are nobody's."""
        found = next((policy for policy in self.policies if policy.matcher.matches(path)), None)
        if found is None or any(policy.is_store(path) for policy in self.policies):
            return None
        return found


def default_config(watch: Sequence[Path], *, state: Path | None = None) -> Config:
    """Return the settings when there is no file: directories or files, and all defaults."""
    entries = tuple(glob.escape(str(path)) for path in watch)
    policy = Policy(name="default", watch=entries)
    return Config(state=state, policies=(policy,))


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file, for editors."""
    schema = Config.model_json_schema()
    del schema["properties"]["defaults"]["default"]
    schema["$defs"]["Policy"]["required"] = ["watch"]  # a name is made from it
    del schema["required"]
    schema["anyOf"] = [{"required": ["policies"]}, {"required": ["include"]}]
    return schema


def _day_of(path: Path) -> str:
    """Return the day of a file's last change, in local time; of a file that is not there, today."""
    try:
        changed = path.stat().st_mtime
    except OSError:
        changed = None
    found = datetime.fromtimestamp(changed).astimezone() if changed else datetime.now().astimezone()
    return f"{found:%Y-%m-%d}"


def _merged_blocks(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the blocks that both have, each with the keys of both."""
    return {
        name: {**common[name], **own[name]}
        for name in BLOCKS
        if isinstance(common.get(name), dict) and isinstance(own.get(name), dict)
    }


def _free_name(watch: object, taken: Collection[object]) -> str:
    first = watch[0] if isinstance(watch, list | tuple) and watch else watch
    words = re.findall(
        r"[A-Za-z0-9][A-Za-z0-9._-]*",
        first.rstrip("/").split("/")[-1] if isinstance(first, str) else "",
    )
    name = words[0][:60] if words else "policy"
    candidates = chain([name], (f"{name}-{i}" for i in count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)
