"""What to watch and how: YAML to settings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vh5d.policy.load import Problem, Reading, examine, load_config, read
    from vh5d.policy.model import Config, Policy, default_config, schema

__all__ = [
    "Config",
    "Policy",
    "Problem",
    "Reading",
    "default_config",
    "examine",
    "load_config",
    "read",
    "schema",
]

_HOMES = dict.fromkeys(("Problem", "Reading", "examine", "load_config", "read"), "load")


def __getattr__(name: str) -> Any:
    # pydantic takes a tenth of a second: whoever wants only the units does without.
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
