"""Help is a golden file; starting is quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import vh5d as package
from vh5d.cli import COMMANDS, main

HELP = Path(__file__).parent / "help"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["vh5d", *COMMANDS])
def test_help_is_what_it_was(vh5d, name):
    """To accept what it is now: VH5D_ACCEPT_HELP=1 pytest tests/cli/test_help.py."""
    arguments = ["--help"] if name == "vh5d" else [name, "--help"]
    done = vh5d(*arguments)
    assert done.code == 0
    golden = HELP / f"{name}.txt"
    if os.environ.get("VH5D_ACCEPT_HELP"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(done.out, encoding="utf-8")
    assert done.out == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_command_says(name):
    command = main.get_command(click.Context(main), name)
    assert command.get_short_help_str(100) == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(vh5d, name):
    options = vh5d(name, "--help").out
    assert all(option in options for option in ("--config", "--state", "--json", "--debug"))


def test_version(vh5d):
    assert vh5d("--version").out == f"vh5d {package.__version__}\n"


def loaded(code: str, cwd: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, json\n{code}\nprint(json.dumps(list(sys.modules)))"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"celery", "h5py", "numpy", "pydantic", "redis", "rich", "structlog", "watchdog", "yaml"}


def test_the_group_imports_nothing_heavy(tmp_path):
    assert not loaded("import vh5d.cli", tmp_path) & HEAVY
    assert not loaded("import vh5d", tmp_path) & HEAVY


def test_help_of_all_commands_imports_nothing_heavy(tmp_path):
    code = (
        "from click.testing import CliRunner\n"
        "from vh5d.cli import COMMANDS, main\n"
        "for name in COMMANDS: assert CliRunner().invoke(main, [name, '--help']).exit_code == 0"
    )
    assert not loaded(code, tmp_path) & HEAVY


def test_log_imports_neither_celery_nor_pydantic(source, store, tmp_path):
    code = (
        "from click.testing import CliRunner\n"
        "from vh5d.cli import main\n"
        f"assert CliRunner().invoke(main, ['log', {str(source)!r}]).exit_code == 0"
    )
    assert loaded(code, tmp_path) & HEAVY == {"h5py", "numpy"}


@pytest.mark.parametrize("module", ["report", "events", "retry"])
def test_what_a_service_says_is_read_without_hdf5(tmp_path, module):
    assert not loaded(f"import vh5d.service.telling.{module}", tmp_path) & {
        "celery",
        "h5py",
        "watchdog",
    }


def test_the_library_offers_what_it_lists():
    for name in package.__all__:
        assert getattr(package, name) is not None, name
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


def test_the_package_capture_can_be_called(source, tmp_path):
    import vh5d.capture.options

    result = package.capture(source, tmp_path / "s.h5")
    assert isinstance(result, vh5d.capture.options.CaptureResult)
    assert package.restore(tmp_path / "s.h5", "-1", tmp_path / "o.h5").nbytes == result.source_bytes
