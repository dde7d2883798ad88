"""``vh5d check-config``: what a configuration will do, in words; what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vh5d.cli.group import MISUSED, complain
from vh5d.cli.options import PATH, Told, common, print_json
from vh5d.cli.text import counted, printable
from vh5d.errors import UsageError

if TYPE_CHECKING:
    from vh5d.policy import Config, Reading
    from vh5d.policy.placing import Placement


@click.command(short_help="Say what a configuration will do, or what is wrong.")
@click.argument("file", required=False, type=PATH)
@click.option(
    "--path", "paths", multiple=True, type=PATH, help="Say which policy has this file, and why."
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file, for editors.")
@common
@click.pass_context
def command(ctx: click.Context, file: str | None, paths: tuple[str, ...], schema: bool) -> None:
    """Say in words what each policy in FILE will do, and what looks like a mistake.

    What is wrong is one line each, with file, line and key, and exit status 2. Nothing is
    started, and nothing is written.
    """
    told = Told.of(ctx)
    if schema:
        from vh5d.policy import schema as json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        return
    chosen = Path(file) if file is not None else told.config_file
    if chosen is None:
        raise UsageError("no configuration is named", hint="say vh5d check-config FILE")
    if file is not None and told.config_file is not None:
        raise UsageError("two configurations are named", hint="check them one at a time")
    from vh5d.policy import read

    reading = read(chosen)
    if reading.config is None:
        _tell_problems(reading, told)
        ctx.exit(MISUSED)
    _tell(reading, reading.config, paths, told)


def _tell_problems(reading: Reading, told: Told) -> None:
    if told.json:
        problems = [{**vars(each), "file": str(each.file)} for each in reading.problems]
        print_json({"file": str(reading.path), "ok": False, "problems": problems})
        return
    for problem in reading.problems:
        complain(str(problem))


def _tell(reading: Reading, config: Config, paths: tuple[str, ...], told: Told) -> None:
    from vh5d.policy.explain import explain
    from vh5d.policy.placing import place
    from vh5d.policy.suspicions import suspicions

    placements = [place(config, Path(path)) for path in paths]
    warnings = suspicions(config)
    policies = {policy.name: explain(policy, config) for policy in config.policies}
    if told.json:
        says = [
            {"name": name, **{sentence.about: sentence.text for sentence in sentences}}
            for name, sentences in policies.items()
        ]
        files = [str(path) for path in reading.texts.texts]
        found = {"file": str(reading.path), "ok": True, "problems": [], "files": files}
        told_paths = [_as_json(placement) for placement in placements]
        print_json({**found, "warnings": warnings, "policies": says, "paths": told_paths})
        return
    if not placements:
        for name, sentences in policies.items():
            click.echo(click.style(f"policy {name}", bold=True))
            for sentence in sentences:
                click.echo(f"  {sentence.about:9} {printable(sentence.text)}")
    for placement in placements:
        click.echo(_as_text(placement))
    for warning in warnings:
        click.echo(click.style("warning: ", fg="yellow") + printable(warning))
    if not placements:
        several = counted(len(policies), "policy", "policies")
        click.echo(f"{printable(str(reading.path))}: right, {several}")


def _as_text(placement: Placement) -> str:
    lines = []
    path = printable(str(placement.path))
    if placement.policy is None:
        lines.append(f"{path}: no policy has it")
    else:
        lines.append(f"{path}: policy {placement.policy.name}, store {placement.store}")
    lines += [f"  not {name}: {printable(reason)}" for name, reason in placement.reasons]
    return "\n".join(lines)


def _as_json(placement: Placement) -> dict[str, Any]:
    return {
        "path": str(placement.path),
        "policy": placement.policy.name if placement.policy else None,
        "store": str(placement.store) if placement.store else None,
        "not": [{"policy": name, "reason": reason} for name, reason in placement.reasons],
    }
