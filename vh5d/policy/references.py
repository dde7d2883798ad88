"""``${NAME}`` of the environment and ``${file:PATH}`` in the values of a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vh5d.policy.yaml_lines import Document, Location

# $${ stands for ${ itself.
_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST = 1 << 16
_EXPECTED = "expected ${NAME} or ${file:/run/secrets/NAME}"


@dataclass(frozen=True)
class Unresolved:
    """A reference that leads to nothing."""

    location: Location
    text: str
    expected: str | None


@dataclass
class References:
    """What stood for what; the values may be secrets.

    Parameters
    ----------
    base
        The directory that relative paths begin at.
    environment
        Where names are looked up.
    """

    base: Path
    environment: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    unresolved: list[Unresolved] = field(default_factory=list)

    def resolve(self, document: Document) -> None:
        """Replace the references in all values of `document`."""
        document.value = self._in_value(document.value, ())

    def hide(self, text: str) -> str:
        """Return `text` with references instead of what they stand for."""
        for reference, value in self.values.items():
            if len(value) > 1:
                text = text.replace(value, reference)
        return text

    def _in_value(self, value: Any, location: Location) -> Any:
        if isinstance(value, dict):
            return {key: self._in_value(each, (*location, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self._in_value(each, (*location, i)) for i, each in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _REFERENCE.sub(lambda found: self._one(found, location), value)
        return value

    def _one(self, found: re.Match[str], location: Location) -> str:
        reference, inside = found[0], found[1]
        if inside is None:
            return "${"
        try:
            if inside.startswith("file:"):
                value = self._from_file(inside.removeprefix("file:"))
            else:
                value = self._from_environment(inside)
        except ValueError as error:
            expected = None if _NAME.fullmatch(inside) else _EXPECTED
            self.unresolved.append(Unresolved(location, f"{reference}: {error}", expected))
            return reference
        self.values[reference] = value
        return value

    def _from_environment(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            message = "is no name of a variable"
            raise ValueError(message)
        if name not in self.environment:
            message = f"{name} is not set in the environment"
            raise ValueError(message)
        return self.environment[name]

    def _from_file(self, name: str) -> str:
        path = self.base / Path(name).expanduser()
        self.files.append(path)
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
            text = data.decode().rstrip("\r\n")
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            raise ValueError(message) from None
        except UnicodeDecodeError:
            message = "is not UTF-8 text"
            raise ValueError(message) from None
        if len(data) > _LARGEST or "\n" in text:
            message = "is more than a line"
            raise ValueError(message)
        return text
