from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from vh5d import service

FOLDER = Path(service.__file__).parent


@pytest.mark.parametrize(
    "package",
    [
        "",
        *(f".{path.name}" for path in sorted(FOLDER.iterdir()) if (path / "__init__.py").exists()),
    ],
)
def test_a_package_says_where_each_of_its_modules_belongs(package):
    module = import_module(f"vh5d.service{package}")
    folder = Path(module.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.stem[0].isalpha()}
    assert set(re.findall(r"`(\w+)`", module.__doc__)) == modules
