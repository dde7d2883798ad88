from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vh5d.errors import PolicyError
from vh5d.policy import broker_address, examine, load_config, schema
from vh5d.policy.datasets import Datasets
from vh5d.policy.model import Config, Policy
from vh5d.policy.settings import Settings

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


def test_every_setting_takes_what_it_says(write, tmp_path):
    config = load_config(
        write("""\
            maintenance: off
            metrics: "[::1]:9464"
            mail: {server: mail, from: a@b, user: me, password: 1234, tls: none, port: 25}
            path_maps: [{from: 'D:\\data', to: /mnt/data}]
            defaults: {retention: {keep_last: 3, keep_daily: 7}, limits: {read_rate: 50MB/s}}
            policies:
              - watch: data
                symlinks: skip
                observer: polling
                poll_interval: 1m
                min_interval: 5m
                while_open: swmr
                swmr_interval: 30s
                datasets: {exclude: [/entry/log/**, "**/clock"]}
                follow: yes
                store_mode: 0640
                store_group: lab
                version_name: "{policy}-{sequence}"
                exact: false
                retention: {keep_daily: null, keep_within: 1y2w, keep_tagged: no}
                limits: {concurrency: 2, file_size: 1.5 TB, store_quota: 2TiB, on_quota: refuse}
                queue: big
                priority: high
                hooks: {after_capture: [~/bin/done, -v, 5]}
                notify:
                  - {webhook: https://hook.example/secret, on: failed, at_most: 1d}
                  - {mail: lab@example.org}
                  - {command: [tell]}
                stale_after: 2d
              - {watch: other, retention: null}
            """)
    )
    assert (config.maintenance, config.metrics) == (None, "[::1]:9464")
    assert config.mail is not None
    assert (config.mail.from_, config.mail.tls, config.mail.port) == ("a@b", "none", 25)
    assert [(each.from_, each.to) for each in config.path_maps] == [("D:\\data", "/mnt/data")]
    policy, other = config.policies
    assert (policy.symlinks, policy.observer, policy.poll_interval) == ("skip", "polling", 60.0)
    assert (policy.min_interval, policy.swmr_interval) == (300.0, 30.0)
    assert (policy.while_open, policy.follow, policy.exact) == ("swmr", True, False)
    assert (policy.store_mode, policy.store_group) == (0o640, "lab")
    assert (policy.queue, policy.priority, policy.stale_after) == ("big", "high", 2 * 86400.0)
    retention, limits = policy.retention, policy.limits
    assert retention is not None
    assert (retention.keep_last, retention.keep_daily) == (3, None)
    assert (retention.keep_within, retention.keep_tagged) == ((365 + 14) * 86400.0, False)
    assert (limits.read_rate, limits.concurrency) == (50_000_000, 2)
    assert (limits.file_size, limits.store_quota) == (1_500_000_000_000, 2 << 40)
    assert limits.on_quota == "refuse"
    assert policy.hooks.after_capture == (str(Path("~/bin/done").expanduser()), "-v", "5")
    assert [each.at_most for each in policy.notify] == [86400.0, 3600.0, 3600.0]
    assert policy.notify[0].on == ("failed",)
    assert policy.version_template.render(7, datetime.now(UTC), policy="p", stem="s") == "p-7"
    assert (other.retention, other.limits.read_rate) == (None, 50_000_000)
    assert config.maintenance is None
    assert "secret" not in repr(config)
    assert "1234" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("/entry/data", True),
        ("/entry/log", False),
        ("/entry/log/a/b", False),
        ("/a/clock", False),
        ("/clock/inside", False),
        ("/a/clocks", True),
    ],
)
def test_datasets_that_count(path, counts):
    assert Datasets(exclude=("/entry/log", "**/clock")).counts(path) is counts
    assert Datasets().all
    assert Datasets().counts(path)


DURATION = "expected e.g. 500ms, 2s, 10m, 1h30m"
BROKER = broker_address.EXPECTED
TEMPLATE = (
    "expected e.g. {root}/.vh5d/{path}; fields are {root} {path} {name} {stem} {policy} {date}"
)
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
        "expected one of broker, state, rescan, workers, maintenance, path_maps, mail, metrics, "
        "include, defaults, policies",
    ),
    (
        POLICY + "while_open: never",
        ":3: policies[0].while_open: 'never' is not a choice; expected 'wait', 'swmr' or 'skip'",
    ),
    (
        POLICY + "while_open: no",
        ":3: policies[0].while_open: 'no' is not a choice; expected 'wait', 'swmr' or 'skip'",
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
        ":2: defaults.watch: unknown key; expected one of " + ", ".join(Settings.model_fields),
    ),
    (
        "policies: [watch: /a]\ndefaults: 5",
        ":2: defaults: 5 is not a block of settings; expected keys with values",
    ),
    (
        POLICY + "settle: 1s\n    settle: 2s",
        ":4: 'settle' is given twice, first in line 3",
    ),
    # The settings that are blocks, or lists of them.
    (
        POLICY + "exact: maybe",
        ":3: policies[0].exact: 'maybe' is neither true nor false; expected true or false",
    ),
    (
        POLICY + "poll_interval: 1ms",
        ":3: policies[0].poll_interval: this is too often; expected at least 100ms",
    ),
    (
        POLICY + "store_mode: 0440",
        ":3: policies[0].store_mode: 440 locks the owner out; "
        "expected e.g. 0640, with read and write for the owner",
    ),
    (
        POLICY + "store_mode: rw",
        ":3: policies[0].store_mode: 'rw' is not a file mode; "
        "expected e.g. 0640, with read and write for the owner",
    ),
    (
        POLICY + "version_name: '{date}'",
        ":3: policies[0].version_name: '{date}' would call two "
        "versions the same without {sequence}; expected e.g. v{sequence}; "
        "fields are {sequence} {date} {time} {policy} {stem}",
    ),
    (
        POLICY + "version_name: '@{sequence}'",
        ":3: policies[0].version_name: '@{sequence}' has more "
        "than letters, digits and . _ + - in it; expected e.g. v{sequence}; "
        "fields are {sequence} {date} {time} {policy} {stem}",
    ),
    (
        POLICY + "datasets: {exclud: [/a]}",
        ":3: policies[0].datasets.exclud: unknown key; did you mean exclude?",
    ),
    (
        POLICY + "retention: {keep_tagged: true}",
        ":3: policies[0].retention: keeps nothing; "
        "expected at least one of keep_last, keep_daily and so on",
    ),
    (
        POLICY + "retention: {keep_last: ten}",
        ":3: policies[0].retention.keep_last: 'ten' is not "
        "a number of versions; expected 0 to 1000000",
    ),
    (
        POLICY + "retention:\n      keep_within: 2m",
        ":4: policies[0].retention.keep_within: '2m' may "
        "mean minutes (min) or months (mo); "
        "expected e.g. 12h, 7d, 2w, 3mo (of 30 days), 1y (of 365)",
    ),
    (
        POLICY + "retention: 5",
        ":3: policies[0].retention: 5 is not a block of settings; expected keys with values",
    ),
    (
        POLICY + "limits: {read_rate: 50 MB}",
        ":3: policies[0].limits.read_rate: '50 MB' is not a rate; expected e.g. 50 MB/s",
    ),
    (
        POLICY + "limits: {file_size: 5}",
        ":3: policies[0].limits.file_size: 5 is not a size; expected e.g. 512 B, 10 MiB, 1.5 GB",
    ),
    (
        POLICY + "limits: {store_quota: 0 B}",
        ":3: policies[0].limits.store_quota: '0 B' is nothing; expected e.g. 512 B, 10 MiB, 1.5 GB",
    ),
    (
        POLICY + "hooks: {after_capture: touch x}",
        ":3: policies[0].hooks.after_capture: this is not "
        "a program with its arguments; expected a list such as [/usr/local/bin/tell, --briefly]",
    ),
    (
        POLICY + "hooks: {on_failure: [./tell]}",
        ":3: policies[0].hooks.on_failure: the program is "
        "not a name or an absolute path; "
        "expected a list such as [/usr/local/bin/tell, --briefly]",
    ),
    (
        POLICY + "notify: {mail: a@b}",
        ":3: policies[0].notify: this is not a list; "
        "expected a list, each with webhook, mail or command",
    ),
    (
        POLICY + "notify:\n      - on: [failed]",
        ":4: policies[0].notify[0]: is not one way to be "
        "told; expected one of webhook, mail and command",
    ),
    (
        POLICY + "notify:\n      - {command: [tell], on: [fire]}",
        ":4: policies[0].notify[0].on: "
        "'fire' is not an occasion; expected some of failed, stale, unclean, quota, verify",
    ),
    (
        POLICY + "notify: [{webhook: 'ftp://secret'}]",
        ":3: policies[0].notify[0].webhook: this is not a URL; expected https://…",
    ),
    (
        POLICY + "notify: [{mail: a@b}]",
        ":3: policies[0].notify: a notification by mail, but no "
        "server that takes it; expected mail: {server, from}",
    ),
    (
        "mail: {server: a, from: b}\npolicies: [watch: /a]",
        ":1: mail.from: 'b' is not a mail address; expected e.g. lab@example.org",
    ),
    (
        "mail: {server: a, form: a@b}\npolicies: [watch: /a]",
        ":1: mail.from: is missing; expected some text (and 1 more problem)",
    ),
    (
        "path_maps: [{from: /a}]\npolicies: [watch: /a]",
        ":1: path_maps[0].to: is missing; expected the same directory as the queue calls it",
    ),
    (
        "maintenance: 2 am\npolicies: [watch: /a]",
        ":1: maintenance: '2 am' is not a time of day; expected e.g. 02:30, or off",
    ),
    (
        "metrics: localhost\npolicies: [watch: /a]",
        ":1: metrics: 'localhost' is not an address "
        "to listen at; expected HOST:PORT such as 127.0.0.1:9464, or off",
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
    assert found["anyOf"] == [{"required": ["policies"]}, {"required": ["include"]}]
    assert found["$defs"]["Policy"]["required"] == ["watch"]
    assert set(found["$defs"]["Policy"]["properties"]) == set(Policy.model_fields)
    assert found["$defs"]["Policy"]["properties"]["settle"]["default"] == "2s"


def test_units_come_without_pydantic():
    code = "import sys, vh5d.policy.units; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_configuration_for_many_machines_is_right():
    config = load_config(Path(__file__).parents[2] / "config/many-machines.yaml")
    assert [(each.queue, each.priority) for each in config.policies] == [
        ("detector", "high"),
        ("bulk", "low"),
    ]
