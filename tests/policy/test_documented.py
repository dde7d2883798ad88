"""docs/policies.md has every setting, with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from vh5d.policy.datasets import Datasets
from vh5d.policy.hooks import Hooks
from vh5d.policy.limits import Limits
from vh5d.policy.model import Config, Policy
from vh5d.policy.notifications import Notification
from vh5d.policy.reach import Mail, PathMap
from vh5d.policy.retention_settings import Retention

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "The service": (Config,),
    "A policy": (Policy,),
    "Which datasets": (Datasets,),
    "Which versions": (Retention,),
    "How much": (Limits,),
    "Hooks and notifications": (Hooks, Notification),
    "Mail": (Mail,),
    "Names on other hosts": (PathMap,),
}
#: Defaults that the page says in a word.
IN_WORDS = {
    "HDF5's suffixes",
    "all",
    "cores",
    "everything",
    "from `watch`",
    "none",
}


def rows(section: str) -> dict[str, str]:
    """Settings of a section, and their defaults."""
    text = re.split(r"^#+ ", PAGE.partition(f"# {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^\| `(\w+)` \| (.*?) ?\| .", text, flags=re.MULTILINE)
    assert len(found) == len(dict(found)), found
    return dict(found)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_documented_with_its_default(section):
    said = rows(section)
    expected = {}
    for model in SECTIONS[section]:
        for name, field in model.model_fields.items():
            key = field.alias or name
            extra = field.json_schema_extra
            default = extra["default"] if isinstance(extra, dict) else field.default
            if field.is_required():
                expected[key] = ""
            elif said.get(key) in IN_WORDS:
                expected[key] = said[key]
            elif default is None:
                expected[key] = "—"
            else:
                shown = default[0] if isinstance(default, tuple) else default
                expected[key] = f"`{str(shown).lower() if shown in (True, False) else shown}`"
    if section == "A policy":
        expected["name"] = "from `watch`"
    assert said == expected


def test_every_setting_has_a_description():
    for models in SECTIONS.values():
        for model in models:
            for name, field in model.model_fields.items():
                assert field.description, f"{model.__name__}.{name}"
                assert field.description.endswith("."), name
