"""What pydantic finds wrong, in words for people."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel

from vh5d.policy.model import Config
from vh5d.policy.yaml_lines import Location

_MISSING = {
    "policies": "expected a list of policies, each with a watch",
    "watch": "expected a directory, a file or a glob",
    "from": "expected some text",
    "server": "expected the name of a mail server",
    "to": "expected the same directory as the queue calls it",
}
_NOT_A_BLOCK = ("{!r} is not a block of settings", "expected keys with values")
_NOT_A_NAME = ("{!r} is not a name", "expected letters, digits, '.', '_', '-', at most 64")
_DESCRIPTIONS = {
    "dict_type": _NOT_A_BLOCK,
    "model_attributes_type": _NOT_A_BLOCK,
    "model_type": _NOT_A_BLOCK,
    "string_pattern_mismatch": _NOT_A_NAME,
    "string_too_long": _NOT_A_NAME,
    "string_too_short": ("{!r} is too short", "expected some text"),
    "string_type": ("{!r} is not text", "expected text, in quotes if need be"),
    "tuple_type": ("{!r} is not a list", "expected a list of policies"),
}


def describe(error: Any, location: Location) -> tuple[str, str | None]:
    """Return what is wrong and what was expected, of one of pydantic's errors.

    Parameters
    ----------
    location
        Which setting of a `Config` it is about.
    """
    given, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "policy":
            return context["problem"], context["expected"]
        case "extra_forbidden":
            return "unknown key", nearest(str(location[-1]), keys_at(location[:-1]))
        case "missing":
            return "is missing", _MISSING.get(str(location[-1]))
        case "literal_error":
            return f"{given!r} is not a choice", f"expected {context['expected']}"
    text, expected = _DESCRIPTIONS.get(error["type"], ("{!r}: " + error["msg"], None))
    return text.format(given), expected


def nearest(key: str, known: tuple[str, ...]) -> str:
    """Return what may have been meant by a key that there is not."""
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"


def keys_at(location: Location) -> tuple[str, ...]:
    """Return the keys that the block at `location` of a configuration may have."""
    block: type[BaseModel] = Config
    for part in location:
        if isinstance(part, str):
            field = next(
                field for name, field in block.model_fields.items() if part in {name, field.alias}
            )
            block = _block_of(field.annotation) or block
    return tuple(field.alias or name for name, field in block.model_fields.items())


def _block_of(annotation: Any) -> type[BaseModel] | None:
    """Return the block in an annotation such as ``tuple[Block, ...]`` or ``Block | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_block_of(each) for each in get_args(annotation))
    return next((block for block in found if block is not None), None)
