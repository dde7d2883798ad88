"""``vh5d check-config`` and ``vh5d init``."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vh5d.policy import Config, load_config, schema
from vh5d.policy.placing import place, why_not


@pytest.fixture
def config(tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "vh5d.yaml"
    path.write_text(
        """\
policies:
  - name: detector
    watch: data
    include: ["*.h5"]
    exclude: ["**/scratch/**", "test_*"]
    symlinks: skip
    while_open: swmr
    min_interval: 5m
    significant: content
    datasets: {exclude: [/entry/log/**]}
    follow: true
    exact: false
    store: "/kept/{date}/{path}"
    store_mode: 0640
    store_group: "0"
    retention: {keep_last: 10, keep_within: 2d, keep_daily: 30, keep_monthly: 1}
    limits: {read_rate: 50 MiB/s, concurrency: 2, file_size: 1 TiB, store_quota: 10 TiB}
    queue: big
    priority: high
    hooks: {after_capture: [/bin/true, s3cret]}
    notify:
      - {webhook: "https://hook.example/s3cret", on: [failed, stale]}
      - {mail: lab@example.org}
    stale_after: 1d
  - name: rest
    watch: [data/sub, nowhere]
    recursive: false
mail: {server: mail.example, from: a@b, user: u, password: s3cret}
"""
    )
    return path


def test_a_configuration_in_words(vh5d, config, tmp_path):
    done = vh5d("check-config", config)
    assert done.code == 0
    for said in (
        "policy detector",
        f"watches   {tmp_path}/data: files called *.h5, but not **/scratch/**, test_*; symbolic",
        "changes by inotify, and where that hears nothing by a look every 5s; everything every 5m",
        "a file that grows under a SWMR writer every 1m meanwhile; two versions of a file are at",
        "a change of a file's content makes a version; not of /entry/log/** alone; linked files",
        "/kept/{date}/{path}, versions called v{sequence}",
        "a restore has the content, not the bytes; permissions 0640; group 0",
        "the last 10, those of the last 2d, the newest of each of 30 days, the newest of the last",
        "those with a tag; other versions go at 02:30 each night",
        "files larger than 1 TiB are not captured; sources are read at 50 MiB/s at the most",
        "old versions go first, then it is refused",
        "captures wait in big, with high priority",
        "/bin/true when a version was made",
        "a webhook of hook.example of failed and stale, at most every 1h; lab@example.org of what",
        "stale is what did not change for 1d",
        "all versions, for ever",
        "warning: policy rest: ",
        "warning: policies detector and rest both watch",
        "right, 2 policies",
    ):
        assert said in done.out, said
    assert "s3cret" not in done.out


def test_a_configuration_as_json(vh5d, config):
    found = vh5d("check-config", config, "--json").json
    assert (found["ok"], found["problems"], found["files"]) == (True, [], [str(config)])
    assert [policy["name"] for policy in found["policies"]] == ["detector", "rest"]
    assert found["policies"][1]["keeps"] == "all versions, for ever"
    assert len(found["warnings"]) == 3
    assert "s3cret" not in json.dumps(found)
    assert vh5d("check-config", "--config", config, "--json").json == found


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("data/run.h5", "data/run.h5: policy detector, store /kept/"),
        ("data/sub/run.nc", "data/sub/run.nc: policy rest, store"),
        ("data/sub/run.nc", "not detector: its name is none of *.h5"),
        ("data/sub/deep/run.nc", "not rest: it is in a directory below, and the policy is not"),
        ("data/scratch/run.h5", "no policy has it"),
        ("data/scratch/run.h5", "not detector: **/scratch/** excludes it"),
        ("data/scratch/run.h5", "not rest: it is not in what the policy watches"),
        ("data/test_1.h5", "not detector: test_* excludes it"),
        ("data/.h/run.h5", "not detector: hidden files, and those in hidden directories, are"),
        ("data/.vh5d/run.h5", "not detector: stores are in .vh5d"),
        ("data/run.h5.lock", "not detector: files that end in -journal or .lock are left alone"),
        ("data/link.h5", "not detector: it is a symbolic link, or behind one, and the policy"),
        ("data/out.h5", "not detector: a symbolic link leads out of"),
    ],
)
def test_whose_a_path_is(vh5d, config, tmp_path, path, said):
    (tmp_path / "data" / "run.h5").touch()
    (tmp_path / "outside.h5").touch()
    (tmp_path / "data" / "link.h5").symlink_to("run.h5")
    (tmp_path / "data" / "out.h5").symlink_to(tmp_path / "outside.h5")
    done = vh5d("check-config", config, "--path", path)
    assert done.code == 0
    assert said in done.out
    found = vh5d("check-config", config, "--path", path, "--json").json["paths"][0]
    assert found["path"] == str(tmp_path / path)
    assert (found["policy"] is None) == ("no policy has it" in done.out)


def test_a_store_is_nobodys(tmp_path):
    watch = str(tmp_path)
    config = Config.model_validate(
        {"policies": [{"watch": watch, "store": f"{watch}/kept/{{path}}.vh5", "name": "a"}]}
    )
    found = place(config, tmp_path / "kept" / "run.vh5")
    assert found.policy is None
    named = {"policies": [{"watch": watch, "name": "a", "include": ["*"], "store": "/kept/{path}"}]}
    config = Config.model_validate({"policies": [*named["policies"], {"watch": "/kept"}]})
    assert dict(place(config, tmp_path.parent / "x").reasons)["a"].startswith("it is not in what")
    assert place(config, tmp_path / "x").store is not None
    assert dict(place(config, tmp_path.joinpath("/kept/x.h5")).reasons) == {
        "a": "it is not in what the policy watches",
        "kept": "it is where policy a puts stores",
    }


NAMES = st.sampled_from(["run.h5", "a", "scratch", "test_1.h5", ".h", ".vh5d", "x.lock", "b.nc"])


def test_why_not_and_whether_agree(config):
    policies = load_config(config).policies

    @settings(deadline=None, max_examples=200)
    @given(st.lists(NAMES, min_size=1, max_size=4))
    def agree(parts):
        path = config.parent.joinpath("data", *parts)
        for policy in policies:
            assert (why_not(policy.matcher, path) is None) == policy.matcher.matches(path)

    agree()


def test_what_is_wrong_is_said_all_of_it(vh5d, config):
    config.write_text("policies:\n  - watch: /a\n    settle: 2x\n    colour: red\n")
    done = vh5d("check-config", config)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"vh5d: {config}:3: policies[0].settle: '2x' is not a duration")
    assert second.startswith(f"vh5d: {config}:4: policies[0].colour: unknown key")
    found = vh5d("check-config", config, "--json")
    assert found.code == 2
    assert [problem["line"] for problem in found.json["problems"]] == [3, 4]


def test_wrong_use(vh5d, config):
    assert vh5d("check-config").code == 2
    assert vh5d("check-config", config, "--config", config).code == 2
    assert vh5d("check-config", "none.yaml").line.startswith("vh5d: none.yaml: cannot be read")


def test_the_schema(vh5d):
    assert vh5d("check-config", "--schema").json == schema()


@pytest.mark.parametrize("kind", ["detector", "microscope", "netcdf", "simulation"])
def test_a_configuration_to_begin_with(vh5d, tmp_path, kind):
    odd = tmp_path / "odd: [name] {x} ${HOME} 'é\""
    odd.mkdir()
    done = vh5d("init", kind, "-o", "new.yaml", "--watch", odd)
    assert (done.code, done.err) == (0, "")
    config = load_config(tmp_path / "new.yaml")
    assert config.policies[0].name == kind
    assert config.policies[0].roots == (odd,)
    checked = vh5d("check-config", "new.yaml", "--json").json
    assert (checked["ok"], checked["warnings"]) == (True, [])
    again = vh5d("init", kind, "-o", "new.yaml")
    assert again.code == 2
    assert "new.yaml is there already" in again.line


def test_here_and_on_standard_output(vh5d, tmp_path):
    assert vh5d("init").code == 0
    assert load_config(tmp_path / "vh5d.yaml").policies[0].roots == (tmp_path,)
    done = vh5d("init", "netcdf", "-o", "-")
    assert "significant: content" in done.out
    assert "yaml-language-server" not in done.out
    assert vh5d("init", "-o", "-", "--schema").code == 2


def test_the_schema_beside(vh5d, tmp_path):
    assert vh5d("init", "-o", "a.yaml", "--schema", "--json").json["kind"] == "detector"
    first = (tmp_path / "a.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=a.schema.json"
    assert json.loads((tmp_path / "a.schema.json").read_text()) == schema()
