"""Every command, with real files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.cli.conftest import change, in_process
from vh5d.store.reader import open_store


def test_snapshot_tells_the_version_and_then_that_nothing_changed(vh5d, source):
    first = vh5d("snapshot", source)
    assert (first.code, first.err) == (0, "")
    assert re.fullmatch(r"run\.h5: v1, [\d.]+ KiB added of [\d.]+ KiB in .*s\n", first.out)
    assert re.fullmatch(r"run\.h5: nothing changed \(.*s\)\n", vh5d("snapshot", source).out)


def test_snapshot_as_json(vh5d, source):
    found = vh5d("snapshot", "--json", source).json
    store = source.parent / ".vh5d" / "run.h5"
    assert found["source"] == str(source)
    assert found["store"] == str(store)
    assert found["version"] == "v1"
    assert found["changed"] is True
    assert found["bytes_added"] > 0
    assert found["source_bytes"] == source.stat().st_size
    assert found["kept_as"] == "tree"
    assert found["warnings"] == []
    assert found["seconds"] > 0
    again = vh5d("snapshot", "--json", source).json
    assert (again["version"], again["changed"], again["bytes_added"]) == (None, False, 0)


def test_snapshot_of_several_files_goes_on_after_an_error(vh5d, source, tmp_path):
    second = Path(shutil.copy(source, tmp_path / "b.h5"))
    done = vh5d("snapshot", "--json", source, tmp_path / "none.h5", second)
    assert done.code == 1
    assert done.line == f"vh5d: {tmp_path}/none.h5 does not exist; check the path"
    assert [line.count('"version": "v1"') for line in done.out.splitlines()] == [1, 1]


def test_snapshot_goes_to_the_nearest_vh5d_directory_above(vh5d, source, tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    shutil.copy(source, deep / "x.h5")
    (tmp_path / ".vh5d").mkdir()
    assert vh5d("snapshot", "--json", "a/b/x.h5").json["store"] == f"{tmp_path}/.vh5d/a/b/x.h5"
    (tmp_path / "a" / ".vh5d").mkdir()
    # The store that there is stays the store; another file gets the nearer directory.
    assert vh5d("snapshot", "--json", "a/b/x.h5").json["store"] == f"{tmp_path}/.vh5d/a/b/x.h5"
    shutil.copy(source, deep / "y.h5")
    assert vh5d("snapshot", "--json", "a/b/y.h5").json["store"] == f"{tmp_path}/a/.vh5d/b/y.h5"


def test_snapshot_into_another_store_that_other_commands_are_told_of(vh5d, source, tmp_path):
    assert vh5d("snapshot", source, "--store", "kept.h5").code == 0
    assert vh5d("log", source).code == 1
    assert vh5d("log", source, "--store", "kept.h5").out.count("v1") == 1
    assert vh5d("log", "kept.h5").out.count("v1") == 1


def test_a_policy_says_where_the_store_is_and_how_it_is_kept(vh5d, source, tmp_path):
    config = tmp_path / "vh5d.yaml"
    config.write_text(
        "policies:\n  - watch: .\n    store: 'keep/{path}.versions'\n    compression: none\n"
    )
    found = vh5d("snapshot", "--json", source, "--config", config).json
    assert found["store"] == f"{tmp_path}/keep/run.h5.versions"
    with open_store(found["store"]) as reader:
        assert list(reader.pools) == ["raw"]
    assert vh5d("log", source, "--config", config).code == 0
    (tmp_path / "other.txt").write_text("x")
    done = vh5d("log", tmp_path / "other.txt", "--config", config)
    assert done.code == 2
    assert "no policy of" in done.line


def test_log_lists_versions_newest_first(vh5d, source, store):
    header, newest, oldest = vh5d("log", source).out.splitlines()
    assert header.split()[:2] == ["version", "time"]
    assert newest.startswith("v2 ")
    assert oldest.startswith("v1 ")
    assert oldest.endswith("the first version")
    assert newest.endswith("2 datasets changed, 1 dataset added, 1 group changed, 1 link removed")
    assert len(vh5d("log", source, "-n", "1").out.splitlines()) == 2


def test_log_as_json(vh5d, source, store):
    found = vh5d("log", source, "--json").json
    assert found["store"] == str(store)
    assert found["gone"] is None
    newest, oldest = found["versions"]
    assert (newest["name"], newest["sequence"], newest["prev_version"]) == ("v2", 2, "v1")
    assert newest["tags"] == []
    assert newest["changes"]["dataset"] == {"changed": 2, "added": 1, "removed": 0}
    assert newest["changes"]["link"] == {"changed": 0, "added": 0, "removed": 1}
    assert oldest["changes"] is None
    assert datetime.fromisoformat(newest["timestamp"]).utcoffset() == timedelta(0)
    assert newest["bytes_added"] > 0
    assert newest["source"] == str(source)


def test_log_shows_utc_beside_another_zone(source, store):
    done = in_process(["log", source], cwd=source.parent, env={"TZ": "Europe/Berlin"})
    assert re.search(r"\d\d:\d\d CET  .*|CEST  .*", done.out)
    assert "UTC" in done.out.splitlines()[1]


def test_a_file_and_its_store_mean_the_same_even_when_the_file_is_gone(vh5d, source, store):
    by_source = vh5d("log", source).out
    assert vh5d("log", store).out == by_source
    assert vh5d("log", "run.h5").out == by_source
    source.unlink()
    gone = vh5d("log", source)
    assert gone.out == by_source
    assert gone.err == f"vh5d: {source} is gone; its versions are kept\n"
    assert vh5d("log", store, "--json").json["gone"] == {"how": "gone", "at": None, "to": None}
    assert vh5d("show", "run.h5").code == 0


def test_show_draws_the_tree(vh5d, source, store):
    out = vh5d("show", source, "v1").out
    assert "  frames  int64 (60, 100), chunks (10, 50)\n" in out
    assert "  positions  float64 (2000)\n" in out  # contiguous, however we keep it
    assert '    @unit = "mm"\n' in out
    assert "  soft  → /frames\n" in out
    assert "  outside  → other.h5:/x\n" in out
    assert "  notes  string scalar\n" in out
    assert "soft" not in vh5d("show", source).out


def test_show_as_json(vh5d, source, store):
    found = vh5d("show", source, "--json").json
    objects = {each["path"]: each for each in found["objects"]}
    assert found["version"] == "v2"
    assert objects["/frames"]["shape"] == [60, 100]
    assert objects["/frames"]["chunks"] == [10, 50]
    assert objects["/group"]["attributes"]["unit"]["value"] == "m"
    assert objects["/outside"]["leads_to"] == "other.h5:/x"


def test_show_says_what_is_linked_twice_and_survives_cycles(vh5d, tmp_path):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["a/x"] = 1
        file["b"] = file["a"]
        file["a/up"] = file["/"]
        file["a/type"] = np.dtype("i2")
    assert vh5d("snapshot", "c.h5").code == 0
    out = vh5d("show", "c.h5").out
    assert "b/  same as /a\n" in out
    assert "type  type int16\n" in out


def test_diff_of_two_versions(vh5d, source, store):
    out = vh5d("diff", source, "-2", "-1").out
    assert "~ /frames  dataset changed\n    1 chunk changed: [10:20, 50:100]\n" in out
    assert "    1 of 500 elements differ, by 1275 at most; their mean: 1270 → -5\n" in out
    assert "      [12, 70] 1270 → -5\n" in out
    assert '    @unit: "mm" → "m"\n' in out
    assert '      [] "first" → "second"\n' in out
    assert "+ /new  dataset added: float64 scalar\n" in out
    assert "- /soft  link removed: /frames\n" in out
    assert "positions" not in out


def test_diff_against_the_file_as_it_is_now_says_the_same(vh5d, source, store):
    assert vh5d("diff", source, "v1").out == vh5d("diff", source, "v1", "v2").out
    assert vh5d("diff", source, "v2").out == "the same, byte for byte\n"
    assert vh5d("diff", store, "-1").out == "the same, byte for byte\n"


def test_diff_exit_codes(vh5d, source, store):
    assert vh5d("diff", source, "v1", "v2").code == 0
    assert vh5d("diff", source, "v1", "v2", "--exit-code").code == 1
    assert vh5d("diff", source, "v1", "v1", "--exit-code").code == 0


def test_diff_as_json(vh5d, source, store):
    found = vh5d("diff", source, "v1", "v2", "--json").json
    assert (found["before"], found["after"], found["same_bytes"]) == ("v1", "v2", False)
    objects = {each["path"]: each for each in found["objects"]}
    frames = objects["/frames"]["dataset"]
    assert frames["ranges"] == [{"start": [10, 50], "stop": [20, 100]}]
    assert frames["values"]["differing"] == 1
    assert frames["values"]["max_abs"] == 1275
    assert objects["/soft"]["change"] == "removed"


def test_restore_gives_the_bytes_back(vh5d, source, store, tmp_path):
    now = source.read_bytes()
    done = vh5d("restore", source, "-o", "out.h5", "--json")
    assert done.code == 0
    assert done.json["version"] == "v2"
    assert done.json["target"] == str(tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_bytes() == now
    assert vh5d("restore", source, "-2", "-o", tmp_path).code == 2  # the source is there
    (tmp_path / "sub").mkdir()
    assert vh5d("restore", source, "-2", "-o", "sub").code == 0
    assert (tmp_path / "sub" / "run.h5").read_bytes() != now


def test_restore_puts_a_deleted_file_back_but_never_overwrites_one(vh5d, source, store):
    now = source.read_bytes()
    done = vh5d("restore", source)
    assert done.code == 2
    assert "--force" in done.line
    assert source.read_bytes() == now
    source.unlink()
    assert vh5d("restore", source).code == 0
    assert source.read_bytes() == now
    assert vh5d("restore", store, "v1", "--force").code == 0
    assert source.read_bytes() != now


def test_restore_finds_the_place_of_a_moved_directory(vh5d, source, store, tmp_path):
    (tmp_path / "old").mkdir()
    shutil.move(source, tmp_path / "old")
    shutil.move(tmp_path / ".vh5d", tmp_path / "old")
    shutil.move(tmp_path / "old", tmp_path / "moved")
    (tmp_path / "moved" / "run.h5").unlink()
    assert vh5d("restore", "moved/.vh5d/run.h5").code == 0
    assert (tmp_path / "moved" / "run.h5").exists()


def test_restore_at_a_time(vh5d, source, store, tmp_path):
    with open_store(store) as reader:
        first, second = reader.versions
    between = first.timestamp + (second.timestamp - first.timestamp) / 2
    done = vh5d("restore", source, "--at", between.isoformat(), "-o", "out.h5", "--json")
    assert done.json["version"] == "v1"
    at = f"@{between.isoformat()}"
    assert vh5d("restore", source, at, "-o", "out2.h5", "--json").json["version"] == "v1"
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d %H:%M} Europe/Berlin"
    assert vh5d("restore", source, "--at", tomorrow, "-o", "3.h5", "--json").json["version"] == "v2"
    assert vh5d("restore", source, "v1", "--at", tomorrow).code == 2


def test_restore_one_dataset(vh5d, source, store, tmp_path):
    done = vh5d("restore", source, "v1", "--dataset", "frames", "-o", "f.h5", "--json")
    assert done.code == 0
    assert done.json["dataset"] == "/frames"
    with h5py.File(tmp_path / "f.h5") as file:
        assert list(file) == ["frames"]
        assert file["frames"].chunks == (10, 50)
        assert np.array_equal(file["frames"], np.arange(6000).reshape(60, 100))
    assert vh5d("restore", source, "--dataset", "group", "-o", "g.h5").code == 0
    with h5py.File(tmp_path / "g.h5") as file:
        assert file["group"].attrs["unit"] == "m"
        assert list(file["group/inside"]) == [0, 1, 2]
    for path, said in [("soft", "soft link to /frames"), ("outside", "external"), ("no", "not in")]:
        done = vh5d("restore", source, "v1", "--dataset", path, "-o", "x.h5")
        assert done.code == 2
        assert said in done.line
    assert not (tmp_path / "x.h5").exists()


def test_verify(vh5d, source, store, tmp_path):
    done = vh5d("verify", source)
    assert done.code == 0
    assert "all is well: 2 versions" in done.out
    found = vh5d("verify", tmp_path, "--json").json
    assert found["ok"] is True
    assert found["problems"] == []
    assert [each["store"] for each in found["stores"]] == [str(store)]


def test_verify_reports_damage(vh5d, source, store):
    with open_store(store) as reader:
        offset = reader.tree(reader.resolve("v1"))["frames"].id.get_chunk_info(3).byte_offset
    data = bytearray(store.read_bytes())
    data[offset] ^= 255
    store.write_bytes(data)
    done = vh5d("verify", source)
    assert done.code == 1
    assert "/frames: chunks damaged or missing: 1 (v1" in done.out
    found = vh5d("verify", source, "--json")
    assert found.code == 1
    assert found.json["ok"] is False
    assert {"store", "kind", "message", "path", "versions"} == set(found.json["problems"][0])
    done = vh5d("restore", source, "v1", "-o", "out.h5")
    assert done.code == 1
    assert not Path("out.h5").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(vh5d, shell):
    done = vh5d("completion", shell)
    assert done.code == 0
    assert "_VH5D_COMPLETE" in done.out


def test_names_that_would_confuse_a_terminal_are_escaped(vh5d, tmp_path):
    with h5py.File(tmp_path / "e\x1b[31m.h5", "w") as file:
        file["red\x1b[31m\nline"] = 1
        file.attrs["x"] = "\x07"
    done = vh5d("snapshot", "e\x1b[31m.h5")
    assert done.code == 0
    assert "\x1b" not in done.out
    shown = vh5d("show", "e\x1b[31m.h5").out
    assert r"red\x1b[31m\nline" in shown
    assert "\x07" not in shown


def test_file_names_that_are_not_text(source, tmp_path):
    name = os.fsdecode(b"caf\xe9.h5")
    shutil.copy(source, tmp_path / name)
    done = in_process(["snapshot", name], cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    change(tmp_path / name)
    assert in_process(["snapshot", name, "--json"], cwd=tmp_path).json["version"] == "v2"
    assert in_process(["log", name], cwd=tmp_path).code == 0


def test_colours_only_on_terminals(source, store):
    done = in_process(["log", source], cwd=source.parent)
    assert "\x1b" not in done.out


def test_a_reader_that_goes_away_is_no_error(source, store):
    command = f"'{sys.executable}' -m vh5d show {source} --json | true"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=source.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
