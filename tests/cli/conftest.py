"""Running commands, in this process and as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from vh5d.cli import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on standard error."""
        assert self.err.startswith("vh5d: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.strip()


Vh5d = Callable[..., Done]


@pytest.fixture
def vh5d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vh5d:
    """Run a command in this process, in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str | Path) -> Done:
        found = CliRunner().invoke(main, [str(each) for each in arguments])
        return Done(found.exit_code, found.stdout, found.stderr)

    return run


def in_process(
    arguments: Sequence[str | Path], *, cwd: Path, prefix: Sequence[str] = (), **kwargs: Any
) -> Done:
    """Run a command in a process of its own."""
    found = subprocess.run(
        [*prefix, sys.executable, "-m", "vh5d", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **kwargs.pop("env", {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **kwargs,
    )
    return Done(found.returncode, found.stdout, found.stderr)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", data=np.arange(6000).reshape(60, 100), chunks=(10, 50))
        file["positions"] = np.linspace(0, 1, 2000)
        file["notes"] = "first"
        file["group/inside"] = np.arange(3)
        file["group"].attrs["unit"] = "mm"
        file["soft"] = h5py.SoftLink("/frames")
        file["outside"] = h5py.ExternalLink("other.h5", "/x")
    return path


def change(path: Path) -> None:
    """Change some of everything."""
    with h5py.File(path, "r+") as file:
        file["frames"][12, 70] = -5
        file["group"].attrs["unit"] = "m"
        file["notes"][()] = "second"
        file["new"] = 1.5
        del file["soft"]


@pytest.fixture
def store(source: Path, vh5d: Vh5d) -> Path:
    """The store of `source`, with two versions."""
    assert vh5d("snapshot", source).code == 0
    change(source)
    assert vh5d("snapshot", source).code == 0
    return source.parent / ".vh5d" / source.name
