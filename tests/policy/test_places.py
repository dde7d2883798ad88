from __future__ import annotations

from pathlib import Path

import pytest

from vh5d.policy import load_config
from vh5d.policy.places import files_of_stores, store_places


@pytest.mark.parametrize(
    ("watch", "store", "places"),
    [
        ("[/d/a]", "{root}/.vh5d/{path}", ["/d/a/.vh5d"]),
        ("[/d/a, /d/b]", "{root}/.vh5d/{path}", ["/d/a/.vh5d", "/d/b/.vh5d"]),
        ("[/d/a, /d/b]", "/s/{policy}/{root}/{path}", ["/s/p/d/a", "/s/p/d/b"]),
        ("[/d/a]", "/s/{path}.versions", ["/s"]),
        ("[/d/a]", "/s/of-{path}", ["/s"]),
    ],
)
def test_stores_are_below_what_no_source_decides(watch, store, places, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(f"policies: [{{name: p, watch: {watch}, store: '{store}'}}]")
    (policy,) = load_config(file).policies
    assert store_places(policy) == tuple(map(Path, places))


def test_every_store_is_found_once(tmp_path):
    for name in ("data/.vh5d/a.h5", "data/.vh5d/b/c.h5", "stores/x.h5", "stores/.x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    file = tmp_path / "c.yaml"
    file.write_text(
        "policies:\n- {watch: data}\n- {name: two, watch: other, store: 'stores/{path}'}\n"
    )
    found = list(files_of_stores(load_config(file).policies))
    assert found[:2] == [tmp_path / "data/.vh5d/a.h5", tmp_path / "data/.vh5d/b/c.h5"]
    assert tmp_path / "stores/x.h5" in found
    assert len(found) == len(set(found))
