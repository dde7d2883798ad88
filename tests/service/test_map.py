from __future__ import annotations

import re
from pathlib import Path

from vh5d import service


def test_the_package_says_where_each_of_its_modules_belongs():
    folder = Path(service.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.stem[0].isalpha()}
    assert set(re.findall(r"`(\w+)`", service.__doc__)) == modules
