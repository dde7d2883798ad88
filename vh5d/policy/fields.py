"""The kinds of values that settings have, and how a wrong one is reported."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
)
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from vh5d.policy import broker_address, units
from vh5d.policy.broker_address import BrokerAddress
from vh5d.policy.secrets import without_passwords

#: As many as there are, as in restic.
UNLIMITED, UNLIMITED_WORD = -1, "unlimited"
_MOST_KEPT = 1_000_000
BROKER_EXPECTED = broker_address.EXPECTED
_NULL = {"type": "null"}
_MAYBE_TEXT: dict[str, Any] = {"anyOf": [{"type": "string"}, _NULL]}
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
        BrokerAddress.parse(value)
    except ValueError as error:
        reject(str(error), BROKER_EXPECTED)
    return value


def _state(value: object, info: ValidationInfo) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        reject(f"{value!r} is not a directory", "expected a path")
    return Path(absolute(value, info))


def _number(what: str, least: int, most: int) -> Callable[[object], int | None]:
    def check(value: object) -> int | None:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)  # ${NAME} is text
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is None:
            return None
        if not whole or not least <= value <= most:  # type: ignore[operator]
            reject(f"{value!r} is not {what}", f"expected {least} to {most}")
        return value  # type: ignore[return-value]

    return check


def _numbers(least: int, most: int) -> dict[str, Any]:
    return {"anyOf": [{"type": "integer", "minimum": least, "maximum": most}, _NULL]}


def _kept(value: object) -> int | None:
    if isinstance(value, int | str) and value in {UNLIMITED, UNLIMITED_WORD}:
        return UNLIMITED
    return _number("a number of versions", 0, _MOST_KEPT)(value)


def _measure(
    parse: Callable[[str], float], what: str, expected: str
) -> Callable[[object], float | None]:
    def check(value: object) -> float | None:
        # Numbers come from Python; YAML text never arrives as a float, and not as a bare int.
        if value is None or isinstance(value, float):
            return value
        if not isinstance(value, str):
            reject(f"{value!r} is not a {what}", expected)
        try:
            found = parse(value)
        except ValueError as error:
            reject(str(error), expected)
        return found if found > 0 else reject(f"{value!r} is nothing", expected)

    return check


def _flag(value: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in words:
        reject(f"{value!r} is neither true nor false", "expected true or false")
    return words[value.lower()]


def _command(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    expected = "expected a list such as [/usr/local/bin/tell, --briefly]"
    # What is wrong is not repeated: an argument may be a secret.
    if not isinstance(value, list | tuple) or not value:
        reject("this is not a program with its arguments", expected)
    for each in value:
        if not isinstance(each, str | int) or "\0" in str(each):
            reject("an argument is not text", expected)
    program = str(value[0])
    if not program or ("/" in program and not program.startswith(("/", "~"))):
        reject("the program is not a name or an absolute path", expected)
    return (os.path.expanduser(program), *map(str, value[1:]))  # noqa: PTH111 - text


def _mode(value: object) -> int | None:
    # YAML has 0640 for a number; what people mean is octal.
    if value is None:
        return None
    text = str(value) if isinstance(value, str | int) else ""
    expected = "expected e.g. 0640, with read and write for the owner"
    if not re.fullmatch(r"(0o?)?[0-7]{3}", text):
        reject(f"{value!r} is not a file mode", expected)
    mode = int(text.removeprefix("0o"), 8)
    return mode if mode & 0o600 == 0o600 else reject(f"{text} locks the owner out", expected)


def _group(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | int) or not re.fullmatch(r"[A-Za-z0-9._@\\-]+", str(value)):
        reject(f"{value!r} is not a group", "expected the name of a group, or its number")
    return str(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        reject(f"{value!r} is not text", "expected text, in quotes if need be")
    return value


def _webhook(value: object) -> SecretStr | None:
    # Not repeated: what follows the host often is the secret.
    if value is None or isinstance(value, SecretStr):
        return value
    try:
        url = urlsplit(value if isinstance(value, str) else "")
        right = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        right = False
    return SecretStr(str(value)) if right else reject("this is not a URL", "expected https://…")


def _mail_address(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", value):
        reject(f"{value!r} is not a mail address", "expected e.g. lab@example.org")
    return value


def _sender(value: object) -> str:
    return _mail_address(value) or reject("there is no address", "expected e.g. lab@example.org")


def _secret(value: object) -> SecretStr | None:
    if value is None or isinstance(value, SecretStr):
        return value
    if not isinstance(value, str | int):
        reject("this is not a password", "expected ${file:/run/secrets/NAME} or ${NAME}")
    return SecretStr(str(value))


def _listening(value: object) -> str | None:
    if value is None or value == "off":
        return None
    expected = "expected HOST:PORT such as 127.0.0.1:9464, or off"
    try:
        url = urlsplit(f"//{value}")
        right = bool(url.hostname) and bool(url.port) and url.netloc == value
    except ValueError:
        right = False
    return str(value) if right else reject(f"{value!r} is not an address to listen at", expected)


def _time_of_day(value: object) -> time | None:
    if value is None or value == "off" or isinstance(value, time):
        return None if value == "off" else value  # type: ignore[return-value]
    found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", str(value))
    if found is None:
        reject(f"{value!r} is not a time of day", "expected e.g. 02:30, or off")
    return time(int(found[1]), int(found[2]))


def _unless_none(show: Callable[[Any], str]) -> Callable[[Any], str | None]:
    return lambda value: None if value is None else show(value)


def seconds(default: float | None, description: str) -> Any:
    """Return a field for a duration, whose default the schema has as people write it."""
    shown = None if default is None else units.format_duration(default)
    return Field(default, json_schema_extra={"default": shown}, description=description)


_DURATION: dict[str, Any] = {
    "type": "string",
    "pattern": units.DURATION_PATTERN,
    "examples": ["500ms", "2s", "1h30m"],
}

Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(units.format_duration, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION),
]
MaybeDuration = Annotated[
    float | None,
    BeforeValidator(_measure(units.parse_duration, "duration", units.DURATION_EXPECTED)),
    PlainSerializer(_unless_none(units.format_duration), when_used="json"),
    WithJsonSchema({"anyOf": [_DURATION, _NULL]}),
]
Period = Annotated[
    float | None,
    BeforeValidator(_measure(units.parse_period, "period", units.PERIOD_EXPECTED)),
    PlainSerializer(_unless_none(lambda value: f"{value / 60:.6f}min"), when_used="json"),
    WithJsonSchema({"anyOf": [_DURATION, _NULL]}),
]
Size = Annotated[
    int | None,
    BeforeValidator(_measure(units.parse_size, "size", units.SIZE_EXPECTED)),
    PlainSerializer(_unless_none(lambda value: f"{value} B"), when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["10 MiB", "1.5 TB"]}, _NULL]}),
]
Rate = Annotated[
    int | None,
    BeforeValidator(_measure(units.parse_rate, "rate", units.RATE_EXPECTED)),
    PlainSerializer(_unless_none(lambda value: f"{value} B/s"), when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["50 MB/s"]}, _NULL]}),
]
Kept = Annotated[
    int | None,
    BeforeValidator(_kept),
    PlainSerializer(
        lambda kept: UNLIMITED_WORD if kept == UNLIMITED else kept,
        return_type=int | str | None,
        when_used="json",
    ),
    WithJsonSchema({"anyOf": [*_numbers(0, _MOST_KEPT)["anyOf"], {"const": UNLIMITED_WORD}]}),
]
Captures = Annotated[
    int | None,
    BeforeValidator(_number("a number of captures", 1, 256)),
    WithJsonSchema(_numbers(1, 256)),
]
Port = Annotated[
    int | None,
    BeforeValidator(_number("a port", 1, 65535)),
    WithJsonSchema(_numbers(1, 65535)),
]
Workers = Annotated[
    int,
    BeforeValidator(_number("a number of workers", 1, 256)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 256}),
]
Flag = Annotated[bool, BeforeValidator(_flag)]
Text = Annotated[str, BeforeValidator(_text)]
Command = Annotated[
    tuple[str, ...] | None,
    BeforeValidator(_command),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, _NULL]}
    ),
]
Mode = Annotated[
    int | None,
    BeforeValidator(_mode),
    PlainSerializer(_unless_none(lambda mode: f"{mode:04o}"), when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^0?[0-7]{3}$"}, _NULL]}),
]
Group = Annotated[str | None, BeforeValidator(_group), WithJsonSchema(_MAYBE_TEXT)]
Webhook = Annotated[SecretStr | None, BeforeValidator(_webhook), WithJsonSchema(_MAYBE_TEXT)]
Secret = Annotated[SecretStr | None, BeforeValidator(_secret), WithJsonSchema(_MAYBE_TEXT)]
MailAddress = Annotated[str | None, BeforeValidator(_mail_address), WithJsonSchema(_MAYBE_TEXT)]
MailSender = Annotated[str, BeforeValidator(_sender)]
Listening = Annotated[str | None, BeforeValidator(_listening), WithJsonSchema(_MAYBE_TEXT)]
TimeOfDay = Annotated[
    time | None,
    BeforeValidator(_time_of_day),
    PlainSerializer(lambda at: f"{at:%H:%M}" if at else "off", when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$|^off$"}),
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
    PlainSerializer(without_passwords, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^(embedded|(redis|rediss|unix|sentinel)://.+)$"}),
]
StateDirectory = Annotated[Path | None, BeforeValidator(_state), WithJsonSchema(_MAYBE_TEXT)]
