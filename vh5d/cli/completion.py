"""``vh5d completion``: a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from vh5d.cli.options import common


@click.command(short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@common
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what makes a SHELL (bash, zsh or fish) complete commands, options, files and versions.

    For bash: eval "$(vh5d completion bash)" in ~/.bashrc; the same with zsh in ~/.zshrc; for fish,
    `vh5d completion fish > ~/.config/fish/completions/vh5d.fish`.
    """
    chosen = get_completion_class(shell)
    assert chosen is not None
    click.echo(chosen(ctx.find_root().command, {}, "vh5d", "_VH5D_COMPLETE").source())
