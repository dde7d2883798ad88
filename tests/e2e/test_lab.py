"""What happens to files in a lab, beside the service: they grow, are replaced, moved away."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.history import sha256
from tests.support.service import Up, run_vh5d
from tests.support.swmr_writer import SwmrWriter, frames, torn
from tests.support.waiting import wait_for
from vh5d.capture.restore import restore
from vh5d.errors import StoreBusyError
from vh5d.store.layout import VERSIONS
from vh5d.store.reader import open_store
from vh5d.store.verify import verify


def store_of(path: Path, data: Path) -> Path:
    return data / ".vh5d" / path.relative_to(data)


def kinds(path: Path, data: Path) -> list[str]:
    store = store_of(path, data)
    if not store.exists():
        return []
    try:
        with open_store(store) as reader:
            return [str(version.kept_as) for version in reader.versions]
    except StoreBusyError:
        return []


def write(path: Path, value: float) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.full(1000, value)


@pytest.mark.timeout(180)
def test_a_scan_is_kept_as_it_grows_and_at_its_end(data, make_up, tmp_path):
    make_up(while_open="swmr", swmr_interval="1s").start()
    path = data / "scan.h5"
    with SwmrWriter(path, pause=0.02) as writer:
        writer.tell("run")
        wait_for(lambda: len(kinds(path, data)) >= 2, "two versions", timeout=90)
        assert set(kinds(path, data)) == {"content"}
        writer.close()
    wait_for(lambda: kinds(path, data)[-1:] == ["tree"], "its end", timeout=90)
    with h5py.File(store_of(path, data), "r") as file:
        seen = [file[VERSIONS][name] for name in ("v1", "v2")]
        assert [torn(each) for each in seen] == [[], []]
        assert 0 < frames(seen[0]) < frames(seen[1])
    restore(store_of(path, data), "-1", tmp_path / "back.h5")
    assert sha256(tmp_path / "back.h5") == sha256(path)
    assert verify(store_of(path, data)).ok


@pytest.mark.timeout(180)
def test_replaced_emptied_and_taken_away(tmp_path):
    """Two directories, each with a policy of its own, as of a detector and an archive."""
    detector, archive = tmp_path / "detector", tmp_path / "archive"
    detector.mkdir()
    archive.mkdir()
    up = Up(detector, tmp_path)
    settings = [
        {"name": place.name, "watch": str(place), "settle": "300ms"}
        for place in (detector, archive)
    ]
    up.config.write_text(json.dumps({"policies": settings}))
    up.start()
    try:
        moved, replaced, emptied = (detector / f"{name}.h5" for name in ("m", "r", "e"))
        for path in (moved, replaced, emptied):
            write(path, 1.0)
        for path in (moved, replaced, emptied):
            wait_for(lambda path=path: kinds(path, detector) == ["tree"], path.name, timeout=90)
        write(detector / "new.tmp", 2.0)
        (detector / "new.tmp").rename(replaced)
        os.truncate(emptied, 0)
        target = archive / "m.h5"
        moved.rename(target)
        wait_for(lambda: len(kinds(replaced, detector)) == 2, "the replaced file", timeout=90)
        wait_for(lambda: kinds(target, archive) == ["tree"], "its history", timeout=90)
        assert not store_of(moved, detector).exists()

        def stones() -> dict[str, tuple[str, str | None]]:
            sources = up.status()["sources"]
            return {Path(s["path"]).name: (s["gone"], s["moved_to"]) for s in sources if s["gone"]}

        expected = {"m.h5": ("moved", str(target)), "e.h5": ("emptied", None)}
        wait_for(lambda: stones() == expected, "the tombstones", timeout=90)
        log = run_vh5d("log", emptied, "--state", up.state, "--json")
        gone = json.loads(log.communicate(timeout=60)[0])["gone"]
        assert (gone["how"], gone["at"] is not None) == ("emptied", True)
        # A later file of the name goes on in the same store.
        write(emptied, 3.0)
        wait_for(lambda: len(kinds(emptied, detector)) == 2, "the file that came back", timeout=90)
    finally:
        up.kill()
