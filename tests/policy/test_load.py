from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vh5d.errors import PolicyError
from vh5d.policy import examine, load_config, schema
from vh5d.policy.model import Config, Policy, Settings

EXAMPLE = Path(__file__).parents[2] / "config" / "vh5d.yaml"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "vh5d.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def test_everything_but_watch_has_a_default(write, tmp_path):
    path = write("policies: [{watch: data}]")
    config = load_config(path)
    (policy,) = config.policies
    assert (config.broker, config.state, config.rescan) == ("embedded", None, 300.0)
    assert config.workers == len(os.sched_getaffinity(0))
    assert (policy.name, policy.watch) == ("data", (f"{tmp_path}/data",))
    assert (policy.settle, policy.max_wait, policy.while_open) == (2.0, 600.0, "wait")
    assert (policy.compression, policy.significant) == ("auto", "bytes")
    assert {"*.h5", "*.hdf5", "*.nxs", "*.nc"} <= set(policy.include)


def test_policies_take_the_defaults_that_they_do_not_override(write):
    config = load_config(
        write("""\
            defaults: {settle: 5s, compression: keep}
            policies:
              - watch: /data/a
              - {name: b, watch: [/data/b, /data/c], settle: 1m30s}
              - watch: /other/a/
            """)
    )
    assert [policy.settle for policy in config.policies] == [5.0, 90.0, 5.0]
    assert {policy.compression for policy in config.policies} == {"keep"}
    assert [policy.name for policy in config.policies] == ["a", "b", "a-2"]


def test_relative_paths_begin_at_the_file(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = load_config(
        write(
            """\
            state: state
            policies:
              - {watch: data, store: "kept/{path}"}
              - {watch: "~/runs"}
            """.replace("{0}", "").replace("{{path}}", "{path}")
        )
    )
    assert config.state == tmp_path / "state"
    first, second = config.policies
    assert first.store_for(tmp_path / "data" / "run.h5") == tmp_path / "kept" / "run.h5"
    assert second.watch == ("/home/me/runs",)


def test_anchors_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "vh5d.yaml"
    path.write_bytes(b"\xef\xbb\xbfpolicies: [{watch: &p /a, exclude: [*p ]}]")
    assert load_config(path).policies[0].exclude == ("/a",)


@pytest.mark.parametrize(
    "broker", ["redis://host", "rediss://:secret@host:6380/1", "unix:///run/valkey.sock"]
)
def test_brokers(write, broker):
    assert load_config(write(f"broker: {broker}\npolicies: [watch: /a]")).broker == broker


DURATION = "expected e.g. 500ms, 2s, 10m, 1h30m"
BROKER = "expected embedded, redis://HOST:PORT/0, rediss://… or unix:///PATH"
TEMPLATE = "expected e.g. {root}/.vh5d/{path}; fields are {root} {path} {name} {stem} {policy}"
POLICY = "policies:\n  - watch: /data\n    "

WRONG = [
    # what is in the file, and what is said of it after its name
    (POLICY + "settle: 2x", f":3: policies[0].settle: '2x' is not a duration; {DURATION}"),
    (POLICY + "settle: 2", f":3: policies[0].settle: 2 is not a duration; {DURATION}"),
    (POLICY + "settle: 1.5", f":3: policies[0].settle: '1.5' is not a duration; {DURATION}"),
    (POLICY + "settle: [2s]", f":3: policies[0].settle: ['2s'] is not a duration; {DURATION}"),
    (
        POLICY + "settle: 20m",
        ":2: policies[0].max_wait: 10m is shorter than settle; expected at least 20m",
    ),
    (POLICY + "setle: 2s", ":3: policies[0].setle: unknown key; did you mean settle?"),
    (
        "brocker: embedded\npolicies: [watch: /a]",
        ":1: brocker: unknown key; did you mean broker?",
    ),
    (
        "color: red\npolicies: [watch: /a]",
        ":1: color: unknown key; "
        "expected one of broker, state, rescan, workers, defaults, policies",
    ),
    (
        POLICY + "while_open: swmr",
        ":3: policies[0].while_open: 'swmr' is not a choice; expected 'wait' or 'skip'",
    ),
    (
        POLICY + "while_open: no",
        ":3: policies[0].while_open: 'no' is not a choice; expected 'wait' or 'skip'",
    ),
    (
        POLICY + "compression: lzma",
        ":3: policies[0].compression: 'lzma' is not a choice; "
        "expected 'auto', 'keep', 'none' or 'zstd'",
    ),
    (
        POLICY + "include: []",
        ":3: policies[0].include: the list is empty; expected at least one entry",
    ),
    (
        POLICY + "exclude: [5]",
        ":3: policies[0].exclude: 5 is not a path or pattern; "
        "expected text in quotes, or a list of it",
    ),
    (
        POLICY + "exclude: ['[z-a]']",
        ":3: policies[0].exclude: '[z-a]' is not a glob: bad character range z-a; "
        "expected a glob such as *.h5 or **/scratch/**",
    ),
    (
        POLICY + "name: a b",
        ":3: policies[0].name: 'a b' is not a name; "
        "expected letters, digits, '.', '_', '-', at most 64",
    ),
    (
        POLICY + "name: 5",
        ":3: policies[0].name: 5 is not text; expected text, in quotes if need be",
    ),
    (
        POLICY + "store: '{root}/{folder}'",
        ":3: policies[0].store: '{root}/{folder}' has a field that there is not, {folder}; "
        + TEMPLATE,
    ),
    (
        POLICY + "store: '{root/{path}'",
        ":3: policies[0].store: '{root/{path}' has a brace without its partner; " + TEMPLATE,
    ),
    (
        POLICY + "store: '{root}/{path}'",
        ":3: policies[0].store: a store could take the place of a source; " + TEMPLATE,
    ),
    (
        POLICY + "store: '{root}/{path}.h5'",
        ":3: policies[0].store: a store could take the place of a source; " + TEMPLATE,
    ),
    (
        POLICY + "store: /kept/{name}",
        ":3: policies[0].store: two files of the same name would share a store; "
        "expected {path} in it",
    ),
    (
        "policies:\n  - watch: [/a, /b]\n    store: /kept/{path}",
        ":3: policies[0].store: files of the same path in two watched directories "
        "would share a store; expected {root} in it",
    ),
    (
        "policies:\n  - {watch: /a, store: '/kept/{path}'}\n  - watch: /b\n    store: /kept/{path}",
        ":4: policies[1].store: policy 'a' keeps other files in the same stores; "
        "expected {root} or {policy} in it",
    ),
    (
        "policies:\n  - {watch: /a, name: x}\n  - watch: /b\n    name: x",
        ":4: policies[1].name: another policy is called 'x'; expected a name of its own",
    ),
    (
        "policies:\n  - name: a",
        ":2: policies[0].watch: is missing; expected a directory, a file or a glob",
    ),
    (
        "policies:\n  - watch:",
        ":2: policies[0].watch: None is not a path or pattern; "
        "expected text in quotes, or a list of it",
    ),
    (
        "policies: []",
        ":1: policies: the list is empty; expected at least one policy with a watch",
    ),
    ("policies: /data", ":1: policies: '/data' is not a list; expected a list of policies"),
    (
        "policies: [/data]",
        ":1: policies[0]: '/data' is not a block of settings; expected keys with values",
    ),
    (
        "broker: embedded",
        ":1: policies: is missing; expected a list of policies, each with a watch",
    ),
    (
        "broker: http://:secret@host\npolicies: [watch: /a]",
        f":1: broker: this is not a broker; {BROKER}",
    ),
    (
        "broker: redis://host:port\npolicies: [watch: /a]",
        f":1: broker: this is not a URL; {BROKER}",
    ),
    ("broker: unix:///\npolicies: [watch: /a]", f":1: broker: this is not a broker; {BROKER}"),
    (
        "workers: 0\npolicies: [watch: /a]",
        ":1: workers: 0 is not a number of workers; expected 1 to 256",
    ),
    (
        "workers: many\npolicies: [watch: /a]",
        ":1: workers: 'many' is not a number of workers; expected 1 to 256",
    ),
    ("rescan: 5ms\npolicies: [watch: /a]", ":1: rescan: this is too often; expected at least 1s"),
    (
        "state: [a]\npolicies: [watch: /a]",
        ":1: state: ['a'] is not a directory; expected a path",
    ),
    (
        "policies: [watch: /a]\n\ndefaults:\n  settle: x",
        f":4: defaults.settle: 'x' is not a duration; {DURATION}",
    ),
    (
        "defaults: {max_wait: 10s}\npolicies: [{watch: /a, settle: 20s}]",
        ":2: policies[0].max_wait: 10s is shorter than settle; expected at least 20s",
    ),
    (
        "policies: [watch: /a]\ndefaults: {watch: /b}",
        ":2: defaults.watch: unknown key; expected one of include, exclude, settle, max_wait, "
        "while_open, store, compression, significant",
    ),
    (
        "policies: [watch: /a]\ndefaults: 5",
        ":2: defaults: 5 is not a block of settings; expected keys with values",
    ),
    (
        POLICY + "settle: 1s\n    settle: 2s",
        ":4: 'settle' is given twice, first in line 3",
    ),
    ("policies: [watch: /a", ":1: expected ',' or ']', but got '<stream end>'"),
    ("policies:\n\t- watch: /a", ":2: found character '\\t' that cannot start any token"),
    ("policies: [watch: *a]", ":1: found undefined alias 'a'"),
    ("policies: []\n---\npolicies: []", ":2: but found another document"),
    ("? [a]\n: b", ":1: a key must be a word"),
    ("policies: [watch: /a]\nstate: '\x01'", ":2: the character '\\x01' is not allowed"),
    ("&a [*a]", ":1: nested too deeply, or aliases that multiply"),
    ("[" * 2000 + "]" * 2000, ":1: nested too deeply"),
    ("", ": the file is empty; expected policies: with a watch"),
    ("# nothing\n", ": the file is empty; expected policies: with a watch"),
    ("- a", ": the file is not a mapping; expected policies: with a watch"),
    ("x" * (1 << 20) + "y", ": is larger than 1 MiB: not a configuration"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said[:60] for _, said in WRONG])
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, said):
    path = tmp_path / "vh5d.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(PolicyError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}{said}"
    assert "\n" not in str(caught.value)


def test_aliases_that_multiply_are_given_up_soon(tmp_path):
    path = tmp_path / "vh5d.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    path.write_text("\n".join(lines))
    with pytest.raises(PolicyError, match="aliases that multiply"):
        load_config(path)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(PolicyError) as caught:
        load_config(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    with pytest.raises(PolicyError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"broker: embedded\n# caf\xe9\n")
    with pytest.raises(PolicyError, match=r"latin\.yaml:2: is not UTF-8 text"):
        load_config(latin)


def test_all_problems_are_found_and_counted(write):
    path = write("""\
        defaults: {settle: 2x}
        policies:
          - watch: /a
            colour: red
          - watch: /b
        rescan: often
        """)
    config, problems = examine(path)
    assert config is None
    assert [(problem.line, problem.key) for problem in problems] == [
        (1, "defaults.settle"),
        (4, "policies[0].colour"),
        (6, "rescan"),
    ]
    with pytest.raises(PolicyError) as caught:
        load_config(path)
    assert str(caught.value) == (
        f"{path}:1: defaults.settle: '2x' is not a duration; {DURATION} (and 2 more problems)"
    )


def test_the_annotated_example_is_right_and_says_the_defaults():
    config = load_config(EXAMPLE)
    assert [policy.name for policy in config.policies] == ["detector", "simulations"]
    plain = Policy(name="plain", watch=("/data",))
    for key in ("settle", "max_wait", "while_open", "store", "compression", "significant"):
        assert getattr(config.policies[0], key) == getattr(plain, key), key
    assert config.rescan == Config(policies=(plain,)).rescan


def test_the_annotated_example_has_every_setting():
    text = EXAMPLE.read_text()
    for key in {*Config.model_fields, *Settings.model_fields, *Policy.model_fields}:
        assert f"{key}:" in text, key


def test_the_schema_is_json_and_knows_every_key():
    found = schema()
    assert json.loads(json.dumps(found)) == found
    assert found["additionalProperties"] is False
    assert found["required"] == ["policies"]
    assert found["$defs"]["Policy"]["required"] == ["watch"]
    assert set(found["$defs"]["Policy"]["properties"]) == set(Policy.model_fields)
    assert found["$defs"]["Policy"]["properties"]["settle"]["default"] == "2s"


def test_units_come_without_pydantic():
    code = "import sys, vh5d.policy.units; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
