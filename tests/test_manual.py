"""The man page says what the commands' help says, and reads as one."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "man" / "vh5d.1"


def test_the_page_is_what_the_help_says():
    """To accept what it is now, with the help itself: VH5D_ACCEPT_HELP=1."""
    made = runpy.run_path(str(PAGE.with_name("generate.py")))["manual"]()
    if os.environ.get("VH5D_ACCEPT_HELP"):
        PAGE.write_text(made, encoding="utf-8")
    assert made == PAGE.read_text(encoding="utf-8")
    assert made.isascii()


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_page_is_one_without_a_warning():
    command = ["groff", "-man", "-ww", "-z", str(PAGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_page_shows_every_command():
    from vh5d.cli import COMMANDS

    command = ["groff", "-man", "-Tascii", "-P-cbou", str(PAGE)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in COMMANDS:
        assert f"vh5d {name} " in shown, name
