"""A configuration file and those that it includes, as one value."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vh5d.policy.references import References
from vh5d.policy.store_template import anchored
from vh5d.policy.texts import Texts
from vh5d.policy.yaml_lines import Document, Location, YAMLError, parse

_EXPECTED = "expected policies: with a watch"
#: A part, a line or 0, a location, what is wrong there, and what was expected.
Fault = tuple["Part", int, Location, str, str | None]


@dataclass(frozen=True)
class Part:
    """One file."""

    path: Path
    document: Document
    references: References

    @property
    def base(self) -> Path:
        """The directory that relative paths in it begin at."""
        return self.path.resolve().parent


@dataclass
class Whole:
    """All files as one value, and where its parts come from.

    Attributes
    ----------
    value
        What `Config` is made from.
    origins
        Of each policy, the file that it is in, and which one it is there.
    faults
        What is wrong before any setting is looked at.
    """

    parts: list[Part] = field(default_factory=list)
    value: dict[str, Any] = field(default_factory=dict)
    origins: list[tuple[Part, int]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def origin(self, location: Location) -> tuple[Part, Location]:
        """Return the file that the setting at `location` is in, and where it is there."""
        at = location[1] if location[:1] == ("policies",) and len(location) > 1 else None
        if not isinstance(at, int) or at >= len(self.origins):
            return self.parts[0], location
        part, own = self.origins[at]
        return part, ("policies", own, *location[2:])

    def hide(self, text: str) -> str:
        """Return `text` without what references stand for."""
        for part in self.parts:
            text = part.references.hide(text)
        return text


def gather(path: Path, texts: Texts) -> Whole:
    """Read a file and all that it includes; `Whole.faults` has what stands in the way."""
    whole = Whole()
    main = _read(path, texts, whole)
    if whole.faults:
        return whole
    whole.value = dict(main.document.value)
    policies = whole.value.get("policies")
    included = _included(main, texts, whole)
    if whole.faults:
        return whole
    if not included or (policies is not None and not isinstance(policies, list)):
        own = policies if isinstance(policies, list) else []
        whole.origins = [(main, i) for i in range(len(own))]
        return whole
    together = []
    for part in (main, *included):
        for i, policy in enumerate(part.document.value.get("policies") or ()):
            together.append(policy if part is main else _settled(policy, part.base))
            whole.origins.append((part, i))
    whole.value["policies"] = together
    return whole


def _read(path: Path, texts: Texts, whole: Whole) -> Part:
    part = Part(path, Document(), References(path.resolve().parent, os.environ))
    whole.parts.append(part)
    try:
        found = parse(texts.text(path))
    except YAMLError as error:
        whole.faults.append((part, error.line, (), error.problem, None))
        return part
    if not isinstance(found.value, dict):
        what = "is empty" if found.value is None else "is not a mapping"
        whole.faults.append((part, 0, (), f"the file {what}", _EXPECTED))
        return part
    part.document.lines.update(found.lines)
    part.references.resolve(found)
    part.document.value = found.value
    for each in part.references.unresolved:
        line = found.line_of(each.location)
        whole.faults.append((part, line, each.location, each.text, each.expected))
    return part


def _included(main: Part, texts: Texts, whole: Whole) -> list[Part]:
    patterns = main.document.value.get("include") or ()
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
        return []  # `Config` says what is wrong with it
    paths = [
        found for each in patterns for found in texts.found(each, main.base, besides=main.path)
    ]
    parts = []
    for path in dict.fromkeys(paths):
        part = _read(path, texts, whole)
        parts.append(part)
        if part.document.value is not None:
            _check_included(part, whole)
    return parts


def _check_included(part: Part, whole: Whole) -> None:
    value, lines = part.document.value, part.document
    for key in value:
        if key != "policies":
            expected = "an included file has policies, nothing else"
            whole.faults.append((part, lines.line_of((key,)), (key,), "unknown key", expected))
    policies = value.get("policies")
    if not isinstance(policies, list):
        line = lines.line_of(("policies",))
        text = f"{policies!r} is not a list" if "policies" in value else "is missing"
        whole.faults.append((part, line, ("policies",), text, "expected a list of policies"))


def _settled(policy: Any, base: Path) -> Any:
    """Return a policy of an included file, whose relative paths begin there, with absolute ones."""
    if not isinstance(policy, dict):
        return policy
    settled = dict(policy)
    watch = policy.get("watch")
    if isinstance(watch, str) and watch:
        settled["watch"] = _absolute(watch, base)
    elif isinstance(watch, list):
        settled["watch"] = [
            _absolute(each, base) if isinstance(each, str) and each else each for each in watch
        ]
    if isinstance(policy.get("store"), str):
        settled["store"] = anchored(policy["store"], base)
    return settled


def _absolute(text: str, base: Path) -> str:
    return str(base / Path(text).expanduser())


def dotted(location: Location) -> str:
    """Return a location as people write it: ``policies[0].watch``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
