"""The kinds of values that settings have, and how a wrong one is reported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from vh5d.policy import units

BROKER_EXPECTED = "expected embedded, redis://HOST:PORT/0, rediss://… or unix:///PATH"
_TEXT_OR_LIST: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    ]
}


def reject(problem: str, expected: str, *, key: str | None = None) -> NoReturn:
    """Refuse a value: what is wrong, what was expected, and which key of a block it is about."""
    context = {"problem": problem, "expected": expected, "key": key or ""}
    raise PydanticCustomError("policy", "{problem}; {expected}", context)


def base_of(info: ValidationInfo) -> Path:
    """Return the directory that relative paths are relative to."""
    context: dict[str, Path] = info.context or {}
    return context.get("base") or Path.cwd()


def absolute(text: str, info: ValidationInfo) -> str:
    """Return `text` as a normal absolute path, ``~`` expanded; links are kept as they are."""
    return os.path.normpath(base_of(info) / Path(text).expanduser())


def _duration(value: object) -> float:
    if isinstance(value, float):
        return value  # from Python, in seconds; YAML text never arrives as a float
    if not isinstance(value, str):
        reject(f"{value!r} is not a duration", units.DURATION_EXPECTED)
    try:
        return units.parse_duration(value)
    except ValueError as error:
        reject(str(error), units.DURATION_EXPECTED)


def _patterns(value: object) -> tuple[str, ...]:
    entries = value if isinstance(value, list | tuple) else [value]
    for entry in entries:
        if not isinstance(entry, str) or not entry or "\0" in entry:
            reject(
                f"{entry!r} is not a path or pattern", "expected text in quotes, or a list of it"
            )
    return tuple(entries)


def _at_least_one(value: tuple[str, ...]) -> tuple[str, ...]:
    return value or reject("the list is empty", "expected at least one entry")


def _broker(value: object) -> str:
    # The value is not repeated: it may hold a password.
    if not isinstance(value, str):
        reject("this is not a broker", BROKER_EXPECTED)
    if value == "embedded":
        return value
    try:
        url = urlsplit(value)
        complete = url.path not in {"", "/"} if url.scheme == "unix" else bool(url.hostname)
        _ = url.port
    except ValueError:
        reject("this is not a URL", BROKER_EXPECTED)
    if url.scheme not in {"redis", "rediss", "unix"} or not complete:
        reject("this is not a broker", BROKER_EXPECTED)
    return value


def _state(value: object, info: ValidationInfo) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        reject(f"{value!r} is not a directory", "expected a path")
    return Path(absolute(value, info))


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(units.format_duration, return_type=str, when_used="json"),
    WithJsonSchema(
        {"type": "string", "pattern": units.DURATION_PATTERN, "examples": ["500ms", "2s", "1h30m"]}
    ),
]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_patterns), WithJsonSchema(_TEXT_OR_LIST)]
SomePatterns = Annotated[
    tuple[str, ...],
    BeforeValidator(_patterns),
    AfterValidator(_at_least_one),
    WithJsonSchema(_TEXT_OR_LIST),
]
Broker = Annotated[
    str,
    BeforeValidator(_broker),
    WithJsonSchema({"type": "string", "pattern": "^(embedded|(redis|rediss|unix)://.+)$"}),
]
StateDirectory = Annotated[
    Path | None,
    BeforeValidator(_state),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}),
]
