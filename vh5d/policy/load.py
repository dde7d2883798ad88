"""A YAML file to settings; what is wrong with it in one line: file, line, key, expected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vh5d.errors import PolicyError
from vh5d.policy.model import Config
from vh5d.policy.problems import describe
from vh5d.policy.yaml_lines import Document, Location, YAMLError, parse

_LARGEST = 1 << 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration file. `line` is None if there is no file."""

    file: Path
    line: int | None
    key: str
    text: str
    expected: str | None

    def __str__(self) -> str:
        return f"{self.message}; {self.expected}" if self.expected else self.message

    @property
    def message(self) -> str:
        """Where, and what."""
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


def load_config(path: Path) -> Config:
    """Read the configuration file at `path`; relative paths in it are relative to its directory.

    Raises
    ------
    PolicyError
        What is wrong first in the file, and how many more there are.
    """
    config, problems = examine(path)
    if config is None:
        first, more = problems[0], len(problems) - 1
        hint = first.expected
        if more:
            count = f"and {more} more problem{'s' if more > 1 else ''}"
            hint = f"{hint} ({count})" if hint else count
        raise PolicyError(first.message, hint=hint)
    return config


def examine(path: Path) -> tuple[Config | None, tuple[Problem, ...]]:
    """Read the configuration file at `path`; None and all that is wrong, if anything is."""
    try:
        text = _read(path)
        document = parse(text)
    except YAMLError as error:
        return None, (Problem(path, error.line or None, "", error.problem, None),)
    if not isinstance(document.value, dict):
        found = "is empty" if document.value is None else "is not a mapping"
        problem = Problem(path, None, "", f"the file {found}", "expected policies: with a watch")
        return None, (problem,)
    try:
        context = {"base": path.resolve().parent}
        return Config.model_validate(document.value, context=context), ()
    except ValidationError as error:
        return None, _problems(path, document, error)


def _read(path: Path) -> str:
    """Return the text of the file; YAMLError without a line if there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise YAMLError(message, 0) from error
    if len(data) > _LARGEST:
        message = "is larger than 1 MiB: not a configuration"
        raise YAMLError(message, 0)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = "is not UTF-8 text"
        raise YAMLError(message, data.count(b"\n", 0, error.start) + 1) from error


def _problems(path: Path, document: Document, error: ValidationError) -> tuple[Problem, ...]:
    errors = error.errors(include_url=False)
    # A wrong value in the defaults block is wrong in every policy that takes it: said once.
    in_defaults = {each["loc"][1:] for each in errors if each["loc"][:1] == ("defaults",)}
    problems = []
    for each in errors:
        location = each["loc"]
        key = each.get("ctx", {}).get("key")
        if key:
            location += tuple(int(part) if part.isdigit() else part for part in key.split("."))
        own = location[0] != "policies" or location in document.lines
        if not own and location[2:] in in_defaults:
            continue
        text, expected = describe(each, location)
        line = document.line_of(location)
        problems.append(Problem(path, line, _dotted(location), text, expected))
    return tuple(sorted(problems, key=lambda problem: problem.line or 0))


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
