"""The group of commands: loads the one that is asked for, and reports every failure in one line."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from keyword import iskeyword
from typing import Any

import click

from vh5d.cli.text import one_line
from vh5d.errors import VH5DError

FAILED, MISUSED = 1, 2


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for.

    Parameters
    ----------
    package
        The package that has a module of each command's name, with a `command` in it.
    commands
        Names, and what the help says of each.
    """

    def __init__(
        self, *args: Any, package: str, commands: Mapping[str, str], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.package = package
        self.summaries = dict(commands)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands, in the order of the table."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in self.summaries:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command = import_module(f"{self.package}.{module}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; of a name that is none, say which is like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            like = get_close_matches(args[0], self.summaries, n=1)
            if not like:
                raise
            message = f"{error.message.rstrip('.')}, did you mean {like[0]}"
            raise click.UsageError(message, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run, and exit: 0 done, 1 failed, 2 wrong use; whatever failed is told in one line."""
        arguments = list(sys.argv[1:] if args is None else args)
        # NumPy would start a thread a core as it is imported; nothing here multiplies matrices.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)

        def run() -> Any:
            return super(LazyGroup, self).main(
                arguments, prog_name or "vh5d", complete_var, standalone_mode=False, **extra
            )

        if not standalone_mode:
            return run()
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # where the locale lacks a character
        try:
            result = run()
            sys.stdout.flush()
            code = result if isinstance(result, int) else 0
        except Exception as error:  # noqa: BLE001 - the last place to tell of it
            code = report(error, debug="--debug" in arguments)
        sys.exit(code)


def report(error: Exception, *, debug: bool) -> int:
    """Tell of a failure on standard error; return the exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return MISUSED
    if isinstance(error, BrokenPipeError):
        _discard(sys.stdout)
        return 128 + signal.SIGPIPE
    if isinstance(error, click.Abort):
        complain(str(error) or "interrupted")
        return 128 + signal.SIGINT
    complain(_explain(error))
    if isinstance(error, OSError):
        _discard(sys.stdout)  # it may be what failed, and would fail again at exit
    return _code(error)


def complain(text: str) -> None:
    """Say what is wrong, on standard error, in one line."""
    from vh5d.policy.secrets import without_passwords

    with suppress(OSError):
        click.echo(one_line(without_passwords(f"vh5d: {text}")), err=True)


def explain(error: VH5DError | OSError) -> str:
    """Return what went wrong, and what to do about it."""
    if isinstance(error, VH5DError) or error.strerror is None:
        return str(error)
    where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
    hint = "; give this user the right to it" if isinstance(error, PermissionError) else ""
    return f"{where}{error.strerror}{hint}"


def _explain(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        ctx = error.ctx
        command = ctx.command_path if ctx is not None else "vh5d"
        return f"{' '.join(error.format_message().split()).rstrip('.')}; see `{command} --help`"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, VH5DError | OSError):
        return explain(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"internal error: {what}; say --debug to see where"


def _code(error: Exception) -> int:
    if isinstance(error, click.ClickException | VH5DError):
        return error.exit_code
    return FAILED


def _discard(stream: Any) -> None:
    """Let what is still buffered for a stream go nowhere, instead of failing at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
