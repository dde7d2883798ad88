"""`vh5d prune` by rules: what restic's options keep, what policies keep."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta

import h5py
import pytest

from vh5d.capture.capture import capture
from vh5d.cli import _rules
from vh5d.store.reader import open_store
from vh5d.store.tags import tag

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def make(source, store, days=6):
    """A version at noon and one at one o'clock, on each of some days."""
    for i in range(2 * days):
        with h5py.File(source, "a") as file:
            file[f"d{i}"] = i
        when = NOON + timedelta(days=i // 2, hours=i % 2)
        capture(source, store, clock=lambda when=when: when)
    return store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("made")
    (directory / ".vh5d").mkdir()
    make(directory / "run.h5", directory / ".vh5d" / "run.h5")
    return directory


@pytest.fixture
def lab(made, tmp_path):
    shutil.copytree(made, tmp_path / "lab")
    return tmp_path / "lab"


def names(store):
    with open_store(store) as reader:
        return [version.name for version in reader.versions]


def test_rules_keep_what_they_say(lab, vh5d):
    done = vh5d("prune", lab / "run.h5", "--keep-daily", "3", "--time-zone", "UTC", "--yes")
    assert done.code == 0, done.err
    assert "dropped 9; 3 versions left" in done.out
    assert names(lab / ".vh5d/run.h5") == ["v8", "v10", "v12"]


@pytest.mark.parametrize("arguments", [["v1"], ["--keep-last", "11"]])
def test_what_holes_leave_is_told(lab, vh5d, monkeypatch, arguments):
    monkeypatch.setattr(_rules, "MUCH", 1)
    for more in ("--dry-run", "--yes"):
        done = vh5d("prune", lab / "run.h5", *arguments, more)
        assert done.code == 0
        assert re.search("; `vh5d compact` would give back .* more$", done.out.strip())


def test_dry_run_shows_what_goes_and_why_the_rest_stays(lab, vh5d):
    store = lab / ".vh5d/run.h5"
    tag(store, "v1", "first-light")
    before = store.read_bytes()
    rules = ["--keep-last", "2", "--keep-daily=2", "--keep-within", "20h", "--time-zone", "UTC"]
    done = vh5d("prune", lab / "run.h5", *rules, "--dry-run")
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[0] for line in lines[1:13]] == [f"v{i}" for i in range(12, 0, -1)]
    said = {line[0]: " ".join(line[4:]) for line in lines[1:13]}
    assert said["v12"] == "stays within 20h, last, daily"
    assert said["v11"] == "stays within 20h, last"
    assert said["v9"] == "goes"
    assert said["v1"] == "stays tagged first-light"
    assert "would drop 8; 4 versions would stay" in done.out.splitlines()[-1]
    assert store.read_bytes() == before


def test_tagged_versions_go_only_when_told(lab, vh5d):
    store = lab / ".vh5d/run.h5"
    tag(store, "v1", "first-light")
    assert vh5d("prune", store, "v1", "--yes").code == 2
    assert vh5d("prune", store, "--keep-last", "1", "--yes").code == 0
    assert names(store) == ["v1", "v12"]
    assert vh5d("prune", store, "--keep-last", "1", "--tagged", "--yes").code == 0
    assert names(store) == ["v12"]


def test_a_directory_means_all_stores_in_it(lab, vh5d):
    shutil.copyfile(lab / ".vh5d/run.h5", lab / ".vh5d/other.h5")
    done = vh5d("prune", lab, "--keep-last", "5", "--yes", "--json").json
    assert (done["ok"], done["dropped"], len(done["stores"])) == (True, 14, 2)
    assert done["bytes_returned"] == sum(each["bytes_returned"] for each in done["stores"])
    assert done["stores"][0]["versions"][-1]["reasons"] == ["last"]
    again = vh5d("prune", lab, "--keep-last", "5", "--yes")
    assert again.out == "2 stores: 0 versions dropped, 0 B came back\n"


def test_a_store_that_cannot_be_used_does_not_keep_the_others(lab, vh5d):
    broken = lab / ".vh5d/broken.h5"
    shutil.copyfile(lab / ".vh5d/run.h5", broken)
    with broken.open("r+b") as file:
        file.truncate(3000)
    done = vh5d("prune", lab, "--keep-last", "5", "--yes")
    assert done.code == 1
    assert "broken.h5" in done.line
    assert len(names(lab / ".vh5d/run.h5")) == 5


@pytest.fixture
def config(lab):
    path = lab.parent / "vh5d.yaml"
    path.write_text(
        f"policies:\n"
        f"  - {{name: kept, watch: {lab / 'kept'}, store: '{lab}/all/{{path}}'}}\n"
        f"  - {{name: thinned, watch: {lab}, retention: {{keep_last: 2}}}}\n"
    )
    return path


def test_policies_say_what_goes(lab, config, vh5d):
    shutil.copyfile(lab / ".vh5d/run.h5", lab / ".vh5d/other.h5")
    done = vh5d("prune", "--by-policy", "--config", config, "--yes")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].startswith("2 stores: 20 versions dropped")
    assert names(lab / ".vh5d/run.h5") == names(lab / ".vh5d/other.h5") == ["v11", "v12"]


def test_a_file_whose_policy_has_no_retention_keeps_all(lab, config, vh5d):
    (lab / "all").mkdir()
    shutil.copyfile(lab / ".vh5d/run.h5", lab / "all/run.h5")
    done = vh5d("prune", lab / "kept/run.h5", "--by-policy", "--config", config, "--yes")
    assert "its policy has no retention" in done.line
    assert len(names(lab / "all/run.h5")) == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to prune"),
        (["--by-policy"], "--by-policy without --config"),
        (["--keep-last", "some", "run.h5"], "'some' is neither a number nor 'unlimited'"),
        (["--keep-within", "2m", "run.h5"], "--keep-within: '2m' may mean minutes"),
        (["--keep-last", "0", "run.h5"], "keeps nothing"),
        (["--keep-last", "1", "--time-zone", "Mars", "run.h5"], "'Mars' is no time zone"),
        (["--keep-last", "1", "--by-policy", "run.h5"], "both --keep-… and --by-policy"),
        (["--keep-last", "1"], "nothing to prune"),
        (["--keep-last", "1", "run.h5"], "there is no terminal to ask on"),
    ],
)
def test_what_cannot_be_meant_is_refused(lab, vh5d, monkeypatch, arguments, said):
    monkeypatch.chdir(lab)
    done = vh5d("prune", *arguments)
    assert done.code == 2
    assert said in done.line
    assert len(names(lab / ".vh5d/run.h5")) == 12
