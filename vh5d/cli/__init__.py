"""The command line, a module a command."""

from __future__ import annotations

import sys
from importlib import import_module

import click

#: Commands, each `command` in the module of its name: only the one that is asked for is imported.
COMMANDS = ("up", "watch", "worker", "status")


class LazyGroup(click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """All commands."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,
        cmd_name: str,  # noqa: ARG002 - click's
    ) -> click.Command | None:
        """The command of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"vh5d.cli.{cmd_name}").command
        return command


@click.group(cls=LazyGroup)
def cli() -> None:
    """Keep every state of HDF5 files."""


def main() -> None:
    """Run the command line; errors are one line on standard error."""
    from vh5d.errors import VH5DError

    try:
        cli(prog_name="vh5d")
    except VH5DError as error:
        click.echo(f"vh5d: {error}", err=True)
        sys.exit(error.exit_code)
