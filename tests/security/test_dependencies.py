"""What is installed with vh5d is known: pinned for the tests, and under a licence that we know.

Without a network: it reads what the packages say of themselves. Whether a version has a known
vulnerability is asked when `requirements-ci.txt` is renewed (docs/security.md).
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PERMISSIVE = {
    *("MIT", "BSD", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "ISC", "Zlib", "CC0-1.0", "Unlicense"),
    *("Apache", "Apache-2.0", "PSF", "PSF-2.0", "Python"),
    *("MPL", "MPL-2.0"),  # weak copyleft, file by file: certifi's list of authorities
}
#: What says nothing that a program can read; looked up by hand.
BY_HAND = {"hdf5plugin": "MIT"}


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements-ci.txt").read_text().splitlines()
    entries = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(entry) == 2 and entry[1] for entry in entries), "not an exact version"
    return {name_of(name): version.strip() for name, version in entries}


def direct() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {name_of(each) for each in settings["project"]["dependencies"]}


def installed() -> set[str]:
    """Everything that comes with vh5d, whatever asks for it."""
    found: set[str] = set()
    waiting = direct()
    while waiting:
        name = waiting.pop()
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for another system, or an extra that nobody chose
        found.add(name)
        waiting |= {name_of(each) for each in needs if "extra ==" not in each} - found
    return found


def licence_of(name: str) -> str:
    metadata = distribution(name).metadata
    said = [each for each in metadata.get_all("Classifier") or [] if each.startswith("License ::")]
    kinds = [each.split("::")[-1] for each in said if not each.endswith("OSI Approved")]
    free = (metadata.get("License") or "").partition("\n")[0]
    return BY_HAND.get(name) or metadata.get("License-Expression") or " OR ".join(kinds) or free


def permits(licence: str) -> bool:
    words = re.findall(r"[A-Za-z0-9.-]+", licence)
    return any(word in PERMISSIVE for word in words) and not any("GPL" in word for word in words)


@pytest.mark.parametrize("name", sorted(installed()))
def test_a_dependency_is_pinned_and_its_licence_is_known(name):
    assert name in pins(), "renew requirements-ci.txt"
    assert permits(licence_of(name)), licence_of(name)


def test_every_direct_dependency_is_used_and_has_a_lowest_version():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert all(">=" in each for each in settings["project"]["dependencies"])
    assert direct() <= set(pins())


@pytest.mark.parametrize("licence", ["", "Proprietary", "GPL-3.0-only", "MIT AND LGPL-2.1"])
def test_other_licences_are_noticed(licence):
    assert not permits(licence)
