"""Asking before something is deleted."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from vh5d.errors import UsageError


def confirm(question: Callable[[], str], *, yes: bool) -> None:
    """Ask on the terminal whether to go on.

    Parameters
    ----------
    question
        Returns what would be done; called if it is asked.
    yes
        Whether ``--yes`` has answered already.

    Raises
    ------
    UsageError
        There is nobody to ask.
    click.ClickException
        The answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on", hint="say --yes, or --dry-run to see what it would do"
        )
    if not click.confirm(question(), err=True):
        raise click.ClickException("nothing was changed")
