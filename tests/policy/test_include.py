from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from vh5d.errors import PolicyError
from vh5d.policy import Config, examine, load_config, read
from vh5d.policy.load import Texts


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def main(write):
    write("groups/a.yaml", "policies: [{watch: data, store: 'kept/{path}'}]")
    write("groups/b.yaml", "policies: [{watch: [/b, ../c], settle: 9s}, {watch: /b2}]")
    return write(
        "vh5d.yaml",
        """\
        include: "groups/*.yaml"
        defaults: {settle: 5s}
        policies: [{watch: own}]
        """,
    )


def test_included_policies_are_added_and_take_the_defaults(main, tmp_path):
    config = load_config(main)
    assert [policy.name for policy in config.policies] == ["own", "data", "b", "b2"]
    assert [policy.settle for policy in config.policies] == [5.0, 5.0, 9.0, 5.0]
    _, a, b, _ = config.policies
    assert a.watch == (f"{tmp_path}/groups/data",)
    assert a.store == f"{tmp_path}/groups/kept/{{path}}"
    assert b.watch == ("/b", f"{tmp_path}/c")


def test_a_file_may_have_included_policies_only(write):
    write("a.yaml", "policies: [{watch: /a}]")
    config = load_config(write("vh5d.yaml", "include: [a.yaml, ./a.yaml]"))
    assert [policy.name for policy in config.policies] == ["a"]


def test_a_glob_does_not_mean_the_file_itself(write):
    write("a.yaml", "policies: [{watch: /a}]")
    config = load_config(write("vh5d.yaml", "include: '*.yaml'\npolicies: [{watch: /b}]"))
    assert [policy.name for policy in config.policies] == ["b", "a"]


def test_what_is_wrong_is_said_of_the_file_that_it_is_in(main, write, tmp_path):
    write("groups/c.yaml", "policies:\n  - {watch: /c, name: x}\n  - {watch: /d, name: x}")
    write("groups/b.yaml", "policies:\n  - watch: /b\n  - watch: /b2\n    settle: 2x")
    config, problems = examine(main)
    assert config is None
    (problem,) = problems
    assert str(problem).startswith(
        f"{tmp_path}/groups/b.yaml:4: policies[1].settle: '2x' is not a duration"
    )
    write("groups/b.yaml", "policies: []")
    (problem,) = examine(main)[1]
    assert str(problem).startswith(
        f"{tmp_path}/groups/c.yaml:3: policies[1].name: another policy is called 'x'"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("broker: embedded\npolicies: []", "a.yaml:1: broker: unknown key; an included file has"),
        ("policies: /a", "a.yaml:1: policies: '/a' is not a list; expected a list of policies"),
        ("{}", "a.yaml:1: policies: is missing"),
        ("", "a.yaml: the file is empty"),
        ("policies: [", "a.yaml:1: "),
        (None, "a.yaml: cannot be read: No such file or directory"),
    ],
)
def test_included_files_that_are_wrong(write, tmp_path, text, said):
    path = write("vh5d.yaml", "include: [a.yaml]\npolicies: [{watch: /b}]")
    if text is not None:
        write("a.yaml", text)
    with pytest.raises(PolicyError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{tmp_path}/{said}")


def test_an_include_that_is_no_pattern(write):
    path = write("vh5d.yaml", "include: 5\npolicies: [{watch: /b}]")
    with pytest.raises(PolicyError, match=r":1: include: 5 is not a path or pattern"):
        load_config(path)


def test_references_to_the_environment_and_to_files(write, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_SETTLE", "7s")
    monkeypatch.setenv("WORKERS", "3")
    write("hook", "https://hook.example/s3cret\n")
    path = write(
        "vh5d.yaml",
        """\
        workers: ${WORKERS}
        broker: redis://:${file:secret}@host
        policies:
          - watch: /data/$${x}/a
            settle: ${LAB_SETTLE}
            notify: [{webhook: "${file:hook}"}]
        """,
    )
    (tmp_path / "secret").write_text("pässword\n")
    found = read(path)
    config = found.settings()
    assert (config.workers, config.policies[0].settle) == (3, 7.0)
    assert config.broker == "redis://:pässword@host"
    assert config.policies[0].watch == ("/data/${x}/a",)
    webhook = config.policies[0].notify[0].webhook
    assert webhook is not None
    assert webhook.get_secret_value() == "https://hook.example/s3cret"
    shown = repr(config) + str(config) + config.model_dump_json()
    assert "s3cret" not in shown
    assert "pässword" not in shown
    assert found.secrets == (tmp_path / "secret", tmp_path / "hook")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${NOT_THERE}", "${NOT_THERE}: NOT_THERE is not set in the environment"),
        ("${file:none}", "${file:none}: cannot be read: No such file or directory; expected ${NA"),
        ("${}", "${}: is no name of a variable; expected ${NAME} or ${file:/run/secrets/NAME}"),
        ("${file:two}", "${file:two}: is more than a line; expected ${NAME} or ${file:/run/secr"),
    ],
)
def test_references_that_lead_nowhere(write, tmp_path, value, said):
    write("two", "a\nb")
    path = write("vh5d.yaml", f"policies:\n  - watch: /a\n    settle: {value!r}")
    with pytest.raises(PolicyError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:3: policies[0].settle: {said}")


def test_a_secret_in_the_wrong_place_is_not_shown(write, monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret")
    path = write("vh5d.yaml", "policies:\n  - watch: /a\n    settle: ${TOKEN}")
    with pytest.raises(PolicyError) as caught:
        load_config(path)
    assert "s3cret" not in str(caught.value)
    assert "'${TOKEN}' is not a duration" in str(caught.value)


def test_what_was_read_can_be_read_again_without_the_files(main, write, tmp_path):
    first = read(main)
    assert first.texts.same_on_disk()
    write("groups/c.yaml", "policies: [{watch: /c}]")
    assert not first.texts.same_on_disk()
    main.write_text("broken: [")
    again = read(main, Texts(first.texts.texts, first.texts.globs, closed=True))
    assert again.config == first.config
    second = read(main)
    assert second.config is None
    assert second.texts.same_on_disk()
    main.unlink()
    assert not second.texts.same_on_disk()


def test_settings_survive_json(main, write):
    write(
        "groups/all.yaml",
        """\
        policies:
          - watch: /all
            store_mode: 0660
            retention: {keep_last: 3, keep_within: 1mo}
            limits: {read_rate: 5 MB/s, file_size: 3 GiB}
            stale_after: 1d
            datasets: {exclude: /log}
            notify: [{command: [tell]}]
        """,
    )
    config = load_config(main)
    assert Config.model_validate_json(config.model_dump_json()) == config
