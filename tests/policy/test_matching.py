from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vh5d.errors import UsageError
from vh5d.policy import Config, Policy, default_config
from vh5d.policy.match import WatchedDirectory


def policy(watch: object, **settings: object) -> Policy:
    return Policy.model_validate({"name": "test", "watch": watch, **settings})


@pytest.fixture
def data(tmp_path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


def test_a_directory_with_all_below_it(data):
    one = policy(str(data))
    assert one.watched == (WatchedDirectory(data, recursive=True),)
    assert one.matches(data / "run.h5")
    assert one.matches(data / "a" / "b" / "RUN.HDF5")
    assert not one.matches(data / "run.txt")
    assert not one.matches(data.parent / "run.h5")
    assert not one.matches(data / ".." / "run.h5")
    assert not one.matches(Path(f"{data}2") / "run.h5")
    assert not one.matches(data)
    assert one.root_of(data / "a" / "run.h5") == data
    assert one.root_of(data.parent / "run.h5") is None
    assert one.store_for(data / "a" / "run.h5") == data / ".vh5d" / "a" / "run.h5"


def test_the_root_of_the_file_system():
    assert policy("/").store_for(Path("/data/run.h5")) == Path("/.vh5d/data/run.h5")


def test_a_file_is_watched_whatever_its_name(data):
    source = data / "odd.name"
    source.touch()
    one = policy(str(source))
    assert one.watched == (WatchedDirectory(data, recursive=False),)
    assert one.matches(source)
    assert not one.matches(data / "run.h5")
    assert one.store_for(source) == data / ".vh5d" / "odd.name"


def test_a_file_that_is_not_there_yet_is_known_by_its_suffix(data):
    assert policy(f"{data}/run.h5").watched == (WatchedDirectory(data, recursive=False),)
    assert policy(f"{data}/run").watched == (WatchedDirectory(data / "run", recursive=True),)


@pytest.mark.parametrize(
    ("watch", "path", "meant"),
    [
        ("*.h5", "run.h5", True),
        ("*.h5", "a/run.h5", False),
        ("**/*.h5", "a/b/run.h5", True),
        ("20??", "2024/a/run.h5", True),
        ("20??", "2024/a/run.txt", False),
        ("20??", "reference/run.h5", False),
        ("20??/raw", "2024/raw/run.h5", True),
        ("20??/raw", "2024/run.h5", False),
        ("*", "notes.txt", False),
    ],
)
def test_globs_mean_files_or_directories(data, watch, path, meant):
    one = policy(f"{data}/{watch}")
    assert one.matches(data / path) is meant
    if meant:
        assert one.root_of(data / path) == data
        assert one.store_for(data / path) == data / ".vh5d" / path


def test_a_glob_of_files_needs_one_directory_only(data):
    assert policy(f"{data}/*.h5").watched == (WatchedDirectory(data, recursive=False),)
    assert policy(f"{data}/*").watched == (WatchedDirectory(data, recursive=True),)
    assert policy(f"{data}/**/*.h5").watched == (WatchedDirectory(data, recursive=True),)


def test_a_list_of_them(data):
    one = policy([f"{data}/a", f"{data}/b"])
    assert one.roots == (data / "a", data / "b")
    assert one.store_for(data / "b" / "run.h5") == data / "b" / ".vh5d" / "run.h5"
    with pytest.raises(UsageError, match="not below a directory that policy 'test' watches"):
        one.store_for(data / "c" / "run.h5")


def test_exclude(data):
    one = policy(str(data), exclude=["**/scratch/**", "test_*", "raw/dark.h5", f"{data}/x/*.h5"])
    assert not one.matches(data / "a" / "scratch" / "run.h5")
    assert not one.matches(data / "test_1.h5")
    assert not one.matches(data / "test_1" / "run.h5")
    assert not one.matches(data / "raw" / "dark.h5")
    assert not one.matches(data / "x" / "run.h5")
    assert one.matches(data / "a" / "raw" / "dark.h5")
    assert one.skips(data / "test_1")
    assert not one.skips(data / "raw")


@pytest.mark.parametrize(
    "name",
    [".vh5d/run.h5", "a/.vh5d/run.h5", ".run.h5", ".cache/run.h5", "run.h5-journal", "run.h5.lock"],
)
def test_ours_and_the_hidden_are_never_sources(data, name):
    assert not policy(str(data), include="*").matches(data / name)


def test_a_directory_inside_a_store_directory_has_no_sources(data):
    (data / ".vh5d").mkdir()
    assert not policy(str(data / ".vh5d")).matches(data / ".vh5d" / "run.h5")


@pytest.mark.parametrize(
    ("template", "store"),
    [
        ("{root}/versions/{path}", "data/versions/a/run.h5"),
        ("{root}/../kept/{path}", "kept/a/run.h5"),
        ("{root}/{path}.versions.h5", "data/a/run.h5.versions.h5"),
        ("{root}/{policy}/{path}/{stem}_of_{name}", "data/test/a/run.h5/run_of_run.h5"),
    ],
)
def test_stores_are_not_sources_wherever_they_are(data, template, store):
    one = policy(str(data), store=template)
    assert one.store_for(data / "a" / "run.h5") == data.parent / store
    assert one.matches(data / "a" / "run.h5")
    assert not one.matches(data.parent / store)


def test_a_root_in_the_middle_of_a_template(data):
    one = policy([f"{data}/a", f"{data}/b"], store="/kept/{root}/{path}")
    assert one.store_for(data / "a" / "run.h5") == Path(f"/kept{data}/a/run.h5")


def test_braces_in_a_name_stay_what_they_are(data):
    assert policy(str(data)).store_for(data / "{name}.h5") == data / ".vh5d" / "{name}.h5"


def test_names_that_are_not_text(data):
    path = Path(os.fsdecode(os.fsencode(data) + b"/\xff.h5"))
    one = policy(str(data))
    assert one.matches(path)
    assert one.store_for(path) == data / ".vh5d" / path.name


def test_links_out_of_the_root_are_not_followed(data, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "run.h5").touch()
    (data / "link.h5").symlink_to(outside / "run.h5")
    (data / "sub").symlink_to(outside)
    one = policy(str(data))
    assert not one.matches(data / "link.h5")
    assert not one.matches(data / "sub" / "run.h5")
    assert one.root_of(data / "sub" / "run.h5") is None


def test_links_within_the_root_are_not_if_the_policy_skips_them(data):
    (data / "run.h5").touch()
    (data / "latest.h5").symlink_to("run.h5")
    (data / "sub").mkdir()
    (data / "other").symlink_to("sub")
    (data / "sub" / "a.h5").touch()
    one = policy(str(data), symlinks="skip")
    assert one.matches(data / "run.h5")
    assert one.matches(data / "sub" / "a.h5")
    assert not one.matches(data / "latest.h5")
    assert not one.matches(data / "other" / "a.h5")
    assert policy(str(data / "latest.h5"), symlinks="skip").matches(data / "latest.h5")
    root = data.parent / "root"
    root.symlink_to(data)
    assert policy(str(root), symlinks="skip").matches(root / "run.h5")


def test_links_within_the_root_are(data):
    (data / "run.h5").touch()
    (data / "latest.h5").symlink_to("run.h5")
    assert policy(str(data)).matches(data / "latest.h5")


def test_a_root_that_is_a_link_has_both_names(data, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(data)
    one = policy(str(link))
    assert one.matches(link / "run.h5")
    assert one.matches(data / "run.h5")
    assert one.store_for(data / "run.h5") == one.store_for(link / "run.h5")
    assert one.store_for(link / "run.h5") == link / ".vh5d" / "run.h5"


def test_the_first_policy_has_the_file(data):
    config = Config.model_validate(
        {
            "policies": [
                {"name": "raw", "watch": f"{data}/raw"},
                {"name": "rest", "watch": str(data)},
            ]
        }
    )
    assert config.policy_for(data / "raw" / "run.h5") is config.policy("raw")
    assert config.policy_for(data / "run.h5") is config.policy("rest")
    assert config.policy_for(data / "run.txt") is None
    with pytest.raises(UsageError, match="there is no policy 'other'; there are raw, rest"):
        config.policy("other")


def test_stores_of_one_policy_are_not_sources_of_another(data):
    config = Config.model_validate(
        {
            "policies": [
                {"watch": "/elsewhere", "store": f"{data}/kept/{{path}}"},
                {"watch": str(data)},
            ]
        }
    )
    assert config.policy_for(data / "kept" / "run.h5") is None
    assert config.policy_for(data / "run.h5") is config.policies[1]


def test_no_configuration_at_all(data, monkeypatch):
    monkeypatch.chdir(data)
    odd = data / "20[2]4*"
    odd.mkdir()
    config = default_config([Path("a"), odd], state=data / "state")
    assert config.broker == "embedded"
    assert config.state == data / "state"
    assert config.policies[0].roots == (data / "a", odd)
    assert config.policy_for(odd / "run.h5") is config.policies[0]
    assert config.policy_for(data / "a" / "run.h5") is config.policies[0]
    assert config.policy_for(data / "20245" / "run.h5") is None


def test_a_store_keeps_the_date_that_it_was_begun_for(data, tmp_path):
    one = policy(str(data), store=f"{tmp_path}/kept/{{date}}/{{path}}")
    source = data / "a" / "run.h5"
    source.parent.mkdir()
    source.touch()
    os.utime(source, (0, 86400 * 365))
    first = one.store_for(source)
    assert first == tmp_path / "kept" / time.strftime("%Y-%m-%d", time.localtime(86400 * 365)) / (
        "a/run.h5"
    )
    os.utime(source, (0, 86400 * 400))
    assert one.store_for(source) != first
    first.parent.mkdir(parents=True)
    first.touch()
    assert one.store_for(source) == first, "there now"
    (tmp_path / "kept" / "not-a-date" / "a").mkdir(parents=True)
    later = tmp_path / "kept" / "2020-01-01" / "a"
    later.mkdir(parents=True)
    (later / "run.h5").touch()
    assert one.store_for(source) == first, "the oldest of several"
    source.unlink()
    assert one.store_for(source) == first
    assert one.is_store(first)
    assert not one.is_store(tmp_path / "kept" / "other" / "a" / "run.h5")
    assert one.store_for(data / "none.h5").parent.name == time.strftime("%Y-%m-%d")


def test_a_date_may_be_anywhere_in_a_template(data, tmp_path):
    one = policy(str(data), store=f"{tmp_path}/kept/{{path}}/{{date}}-{{stem}}-{{date}}.vh5")
    source = data / "run.h5"
    source.touch()
    store = one.store_for(source)
    day = time.strftime("%Y-%m-%d")
    assert store == tmp_path / "kept" / "run.h5" / f"{day}-run-{day}.vh5"
    older = store.with_name("2020-02-02-run-2020-02-02.vh5")
    older.parent.mkdir(parents=True)
    older.touch()
    store.with_name("2020-01-01-run-2020-01-02.vh5").touch()
    assert one.store_for(source) == older


def test_directories_below_may_be_left_alone(data):
    one = policy([str(data), f"{data}/runs/20??"], recursive="false", store="{root}/.vh5d/{path}")
    assert one.watched[0] == WatchedDirectory(data, recursive=False)
    assert one.watched[1] == WatchedDirectory(data / "runs", recursive=True)
    assert one.matches(data / "run.h5")
    assert not one.matches(data / "a" / "run.h5")
    assert one.matches(data / "runs" / "2026" / "run.h5")
    assert not one.matches(data / "runs" / "2026" / "a" / "run.h5")
    assert one.root_of(data / "a" / "run.h5") == data
    assert policy(f"{data}/*.h5", recursive=False).matches(data / "run.h5")
    named = policy(str(data / "run.h5"), recursive=False)
    (data / "run.h5").touch()
    assert named.matches(data / "run.h5")
