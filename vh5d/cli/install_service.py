"""``vh5d install-service``: units of systemd for this program, these settings, this user."""

from __future__ import annotations

import getpass
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.confirm import confirm
from vh5d.cli.options import DIRECTORY, Told, common, print_json
from vh5d.cli.text import counted, printable
from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.service.running.installing import Step

_WORDS = {
    "write": ("would write", "wrote"),
    "renew": ("would renew", "renewed"),
    "keep": ("would leave as it is", "is as it should be"),
    "replace": ("was edited; would replace it, with --force,", "was edited; replaced"),
    "remove": ("would remove", "removed"),
}


@dataclass(frozen=True)
class _Choice:
    """What the command line says."""

    directories: tuple[Path, ...]
    user: bool
    uninstall: bool
    dry_run: bool
    yes: bool
    force: bool
    run_as: str
    workers: int
    root: Path

    @property
    def directory(self) -> Path:
        from vh5d.service.running.installing import SYSTEM_DIRECTORY, user_directory

        directory = user_directory() if self.user else SYSTEM_DIRECTORY
        return self.root.absolute() / directory.relative_to("/")

    @property
    def elsewhere(self) -> bool:
        """For a system that is not this one: its service manager is not asked."""
        return self.root != Path("/")


@click.command("install-service", short_help="Have systemd run the service.")
@click.argument("directories", nargs=-1, type=DIRECTORY, metavar="[DIR…]")
@click.option("--user", is_flag=True, help="A service of your own; needs no root.")
@click.option(
    "--uninstall", is_flag=True, help="Stop it and remove its units; no store is touched."
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Replace units that somebody edited, keeping them.")
@click.option(
    "--run-as",
    metavar="USER",
    default="vh5d",
    show_default=True,
    help="Without --user: who it runs as.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    metavar="N",
    default=1,
    show_default=True,
    help="With a broker elsewhere: how many worker units.",
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default="/",
    help="Write below DIR, an image of a system; nothing is started.",
)
@common
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Write units for the service of --config, or for each DIR, and start it with the machine.

    With a private broker that is `vh5d up`, else watcher and workers; stores are checked weekly.
    """
    told, choice = Told.of(ctx), _Choice(**options)
    steps, commands = _removal(choice) if choice.uninstall else _installation(told, choice)
    if not choice.dry_run:
        confirm(lambda: _question(steps), yes=choice.yes)
        commands = (
            _remove(steps, commands, choice)
            if choice.uninstall
            else _write(steps, commands, choice)
        )
    _show(told, choice, steps, [*_notes(choice), *map(shlex.join, commands)])


def _installation(told: Told, choice: _Choice) -> tuple[list[Step], list[list[str]]]:
    from vh5d.cli._service import chosen_config
    from vh5d.service.running.installing import commands, places_of, plan
    from vh5d.service.running.units import Job, drop_in, render, this_program, to_enable, units_for

    config = chosen_config(told, choice.directories)
    arguments = (
        ["--config", str(told.config_file.absolute())]
        if told.config_file is not None
        else [str(directory.absolute()) for directory in choice.directories]
    )
    user = None if choice.user else choice.run_as
    job = Job(this_program(), arguments, config, user)
    files = {}
    units = units_for(config)
    for unit in units:
        path, beside = places_of(choice.directory, unit)
        files[path] = render(unit, job)
        paths = drop_in(unit, job)
        if paths is not None:
            files[beside] = paths
    enabled = to_enable(units, choice.workers)
    steps = plan(files)
    changed = any(step.action in {"renew", "replace"} for step in steps)
    return steps, commands(enabled, user=choice.user, enable=True, changed=changed)


def _removal(choice: _Choice) -> tuple[list[Step], list[list[str]]]:
    from vh5d.service.running.installing import commands, plan_removal
    from vh5d.service.running.units import to_enable

    steps = plan_removal(choice.directory)
    if not steps:
        raise UsageError(
            f"{choice.directory}: there are no units of vh5d", hint="say --user, or not, as before"
        )
    units = [step.path.name for step in steps if not step.path.name.endswith(".conf")]
    enabled = to_enable(units, choice.workers)
    return steps, commands(enabled, user=choice.user, enable=False)


def _write(steps: list[Step], commands: list[list[str]], choice: _Choice) -> list[list[str]]:
    """Write units, and have that noticed; return what is left to be told."""
    from vh5d.service.running.installing import carry_out

    carry_out(steps, force=choice.force)
    return _tell(commands, choice)


def _remove(steps: list[Step], commands: list[list[str]], choice: _Choice) -> list[list[str]]:
    """Stop the service, remove its units, have that noticed; return what is left to be told."""
    from vh5d.service.running.installing import carry_out, refuse_edited

    refuse_edited(steps, force=choice.force)
    left = _tell(commands[:1], choice)
    carry_out(steps, force=choice.force)
    return [*left, *_tell(commands[1:], choice)]


def _tell(commands: list[list[str]], choice: _Choice) -> list[list[str]]:
    """Tell the service manager, if there is one; return what is left to be told."""
    from vh5d.service.running.installing import manager_answers, tell

    if choice.elsewhere or not manager_answers(user=choice.user):
        return commands
    for each in commands:
        tell(each)
    return []


def _question(steps: list[Step]) -> str:
    changed = [step for step in steps if step.action != "keep"]
    verb = "Remove" if any(step.action == "remove" for step in steps) else "Write"
    return f"{verb} {counted(len(changed), 'file')} in {steps[0].path.parent}?"


def _notes(choice: _Choice) -> list[str]:
    """Return what root has to do besides."""
    if choice.uninstall:
        return []
    if choice.user:
        name = getpass.getuser()
        lingers = Path("/var/lib/systemd/linger", name).exists()
        return (
            [] if lingers else [f"loginctl enable-linger {name}  # to run when nobody is logged in"]
        )
    known = choice.elsewhere or _is_known(choice.run_as)
    made = f"useradd --system --no-create-home --user-group {choice.run_as}  # who it runs as"
    return [] if known else [made]


def _is_known(user: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _show(told: Told, choice: _Choice, steps: list[Step], to_run: list[str]) -> None:
    if told.json:
        files = [
            {"path": str(step.path), "action": step.action, "edited": step.edited} for step in steps
        ]
        print_json({"dry_run": choice.dry_run, "files": files, "to_run": to_run})
        return
    for step in steps:
        would, did = _WORDS[step.action]
        click.echo(f"{printable(step.path)}: {would if choice.dry_run else did}")
    if to_run:
        click.echo("to be run then:" if choice.dry_run else "to be run now:")
    for each in to_run:
        own = each.startswith(("systemctl --user", "loginctl")) or os.geteuid() == 0
        click.echo(f"  {each}" if own else f"  sudo {each}")
