"""The options that every command takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.policy import Config

Function = TypeVar("Function", bound=Callable[..., Any])

_COUNTED_BACK = re.compile(r"-[0-9]+")
#: Whether it can be read is told by whoever reads it.
PATH = click.Path(readable=False)

_MARK = "\0"  # in no argument of a process


class _Directory(click.ParamType[Path]):
    """What is watched: a directory, or a file of data; a configuration goes elsewhere."""

    name = "directory"

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:  # noqa: ARG002 - click's signature
        """Take it for a path."""
        path = Path(value)
        if path.suffix in {".yaml", ".yml"} and not path.is_dir():
            raise UsageError(f"{path} is no directory", hint=f"say --config {path}")
        return path

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Have the shell complete names of directories."""
        return [CompletionItem(incomplete, type="dir")]


#: A DIR; whether it can be read is told by whoever reads it.
DIRECTORY = _Directory()


@dataclass(frozen=True)
class Told:
    """What the common options say.

    Attributes
    ----------
    config_file
        ``--config``.
    state
        ``--state``: where the service keeps socket, queue and logs.
    json
        Whether to print JSON.
    """

    config_file: Path | None = None
    state: Path | None = None
    json: bool = False

    @classmethod
    def of(cls, ctx: click.Context) -> Told:
        """Return what was said."""
        config, state = ctx.meta.get("vh5d.config"), ctx.meta.get("vh5d.state")
        return cls(
            config_file=Path(config) if config else None,
            state=Path(state) if state else None,
            json=bool(ctx.meta.get("vh5d.json")),
        )

    def config(self) -> Config | None:
        """Return the configuration, when one was named.

        Raises
        ------
        PolicyError
        """
        if self.config_file is None:
            return None
        from vh5d.policy import load_config

        return load_config(self.config_file)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value:
        ctx.meta[f"vh5d.{param.name}"] = value


def common(function: Function) -> Function:
    """Add ``--config``, ``--state``, ``--json`` and ``--debug``; `Told.of` has what they say."""
    options = (
        click.option(
            "--config",
            metavar="FILE",
            type=PATH,
            help="Policies, in YAML.",
            expose_value=False,
            callback=_remember,
        ),
        click.option(
            "--state",
            metavar="DIR",
            type=PATH,
            help="Where the service keeps socket, queue and logs.",
            expose_value=False,
            callback=_remember,
        ),
        click.option(
            "--json",
            is_flag=True,
            help="Print JSON.",
            expose_value=False,
            callback=_remember,
        ),
        click.option(
            "--debug",
            is_flag=True,
            help="Show where an error comes from.",
            expose_value=False,
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


class VersionCommand(click.Command):
    """A command some of whose arguments are versions: ``-1`` is one, not an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, keeping click from taking ``-1`` for an option."""
        marked = [_MARK + arg if _COUNTED_BACK.fullmatch(arg) else arg for arg in args]
        rest = super().parse_args(ctx, marked)
        ctx.params = {name: _unmark(value) for name, value in ctx.params.items()}
        return rest


def _unmark(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_MARK)
    return tuple(map(_unmark, value)) if isinstance(value, tuple) else value


def print_json(value: Any) -> None:
    """Print a JSON object on a line of its own."""
    click.echo(json.dumps(value, allow_nan=False))
