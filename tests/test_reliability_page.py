"""What the page on reliability promises: its tests exist, and its times are those in force."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from vh5d.policy import Policy
from vh5d.service.catalog import address
from vh5d.service.running import supervisor
from vh5d.service.watching import canary, observer, watcher
from vh5d.service.watching.observer import HABITS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = re.compile(r"`(?:tests/)?([a-z0-9_/]+\.py)::(test_\w+)`")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """Cells of the tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [each for each in cells if not set("".join(each)) <= set("-: ")]


def functions(path: Path) -> set[str]:
    return {
        each.name
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.FunctionDef)
    }


def test_each_of_the_25_failures_is_shown_by_tests():
    table = [each for each in rows(section("Failures")) if each[0].isdigit()]
    assert [int(each[0]) for each in table] == list(range(1, 26))
    for number, *_, shown in table:
        assert NAMED.search(shown), f"{number} is shown by no test"


@pytest.mark.parametrize(("module", "name"), sorted(set(NAMED.findall(PAGE))))
def test_a_test_that_is_named_exists(module, name):
    assert name in functions(ROOT / "tests" / module)


def test_files_that_are_named_exist():
    for name in re.findall(r"`(tests/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"python -m (tests[\w.]+)", PAGE):
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").is_file(), name


@pytest.mark.parametrize(
    ("lost", "seconds"),
    [
        ("a root", HABITS.look + watcher.HEALTH_PAUSE),
        ("a file system", HABITS.hung_after),
        ("events that do not arrive", HABITS.sing + HABITS.patience),
        ("a thread", watcher.HEALTH_PAUSE),
        ("the watcher", supervisor.TICK),
        ("the broker", watcher.TELL_PAUSE + address.REDIS_TIMEOUT),
        ("messages", watcher.LOST_PAUSE),
    ],
)
def test_losses_are_noticed_as_soon_as_the_page_says(lost, seconds):
    (row,) = [each for each in rows(section("Watching")) if each[0].startswith(lost)]
    assert row[1].split(" s")[0] == f"{seconds:g}"


def test_the_other_times_of_watching():
    said = section("Watching")
    policy = Policy(name="p", watch=("/data",))
    assert f"rewritten every {HABITS.sing:g} s" in said
    assert f"awaited for {HABITS.patience:g} s" in said
    assert f"begins anew every {observer.REVIVAL_PAUSE:g} s" in said
    assert f"every {policy.poll_interval:g} s or `poll_interval`" in said
    assert f"{supervisor.WATCHER_SILENT:g} s if it hangs" in said
    assert canary.Habits() == HABITS
