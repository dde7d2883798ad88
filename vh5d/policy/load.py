"""A YAML file to settings; what is wrong with it in one line: file, line, key, expected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vh5d.errors import PolicyError
from vh5d.policy.gather import Whole, dotted, gather
from vh5d.policy.model import Config
from vh5d.policy.problems import describe
from vh5d.policy.texts import Texts


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


@dataclass(frozen=True)
class Reading:
    """What a configuration file was read as.

    Attributes
    ----------
    config
        The settings; None when there are `problems`.
    path
        The file.
    texts
        What was read: this file and those that it includes.
    secrets
        Files that ``${file:…}`` names.
    """

    config: Config | None
    problems: tuple[Problem, ...]
    path: Path
    texts: Texts
    secrets: tuple[Path, ...] = ()

    def settings(self) -> Config:
        """Return the settings.

        Raises
        ------
        PolicyError
            What is wrong first in the file, and how many more there are.
        """
        if self.config is not None:
            return self.config
        first, more = self.problems[0], len(self.problems) - 1
        hint = first.expected
        if more:
            count = f"and {more} more problem{'s' if more > 1 else ''}"
            hint = f"{hint} ({count})" if hint else count
        raise PolicyError(first.message, hint=hint)


def load_config(path: Path) -> Config:
    """Read the configuration file at `path`; relative paths in it are relative to its directory.

    Raises
    ------
    PolicyError
        What is wrong first in the file, and how many more there are.
    """
    return read(path).settings()


def examine(path: Path) -> tuple[Config | None, tuple[Problem, ...]]:
    """Read the configuration file at `path`; None and all that is wrong, if anything is."""
    found = read(path)
    return found.config, found.problems


def read(path: Path, texts: Texts | None = None) -> Reading:
    """Read the configuration file at `path`, and what it includes.

    Parameters
    ----------
    texts
        Where its text and those of the included files come from; without it, the disk.
    """
    texts = texts or Texts()
    whole = gather(path, texts)
    secrets = tuple(file for part in whole.parts for file in part.references.files)
    problems = [
        Problem(part.path, line or None, dotted(location), text, expected)
        for part, line, location, text, expected in whole.faults
    ]
    if problems:
        return Reading(None, tuple(problems), path, texts, secrets)
    try:
        context = {"base": path.resolve().parent}
        config = Config.model_validate(whole.value, context=context)
    except ValidationError as error:
        return Reading(None, _problems(whole, error), path, texts, secrets)
    return Reading(config, (), path, texts, secrets)


def _problems(whole: Whole, error: ValidationError) -> tuple[Problem, ...]:
    errors = error.errors(include_url=False)
    # A wrong value in the defaults block is wrong in every policy that takes it: said once.
    in_defaults = {each["loc"][1:] for each in errors if each["loc"][:1] == ("defaults",)}
    problems = []
    for each in errors:
        location = each["loc"]
        key = each.get("ctx", {}).get("key")
        if key:
            location += tuple(int(part) if part.isdigit() else part for part in key.split("."))
        part, own_location = whole.origin(location)
        own = location[0] != "policies" or own_location in part.document.lines
        if not own and location[2:] in in_defaults:
            continue
        text, expected = describe(each, location)
        line = part.document.line_of(own_location)
        text = whole.hide(text)
        problems.append(Problem(part.path, line, dotted(own_location), text, expected))
    order = [part.path for part in whole.parts]
    return tuple(sorted(problems, key=lambda each: (order.index(each.file), each.line or 0)))
