"""`vh5d verify --config FILE`: every store that the policies keep."""

from __future__ import annotations

import shutil


def test_every_store_of_a_configuration_is_checked(vh5d, source, store, tmp_path):
    config = tmp_path / "vh5d.yaml"
    config.write_text(f"policies: [{{watch: {source.parent}, store: '{tmp_path}/all/{{path}}'}}]")
    done = vh5d("verify", "--config", config, "--json")
    assert (done.code, done.json["stores"]) == (0, [])  # none of its stores is there
    assert vh5d("snapshot", "--config", config, source).code == 0
    done = vh5d("verify", "--config", config, "--json")
    (checked,) = done.json["stores"]
    assert (done.code, checked["ok"]) == (0, True)
    assert checked["store"] == str(tmp_path / "all" / source.name)

    with (tmp_path / "all" / source.name).open("r+b") as damaged:
        damaged.seek(-5000, 2)
        damaged.write(b"\xff" * 4000)
    assert vh5d("verify", "--config", config).code == 1


def test_verify_wants_something_to_verify(vh5d):
    done = vh5d("verify")
    assert done.code == 2
    assert done.line == "vh5d: nothing to verify; name a FILE, or --config FILE"


def test_several_stores_are_summed_up(vh5d, source, store, tmp_path):
    shutil.copy(source, tmp_path / "other.h5")
    assert vh5d("snapshot", "other.h5").code == 0
    done = vh5d("verify", tmp_path)
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("2 stores: all is well: 3 versions, ")
