"""A configuration that changes while the service runs, with real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_up import kept, versions
from tests.support.service import Up
from tests.support.waiting import wait_for


def policy(watch: Path, **settings: Any) -> dict[str, Any]:
    return {"name": watch.name, "watch": str(watch), "settle": "300ms", **settings}


def write(path: Path, *policies: dict[str, Any], **settings: Any) -> None:
    """As editors do: another file, renamed over."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"policies": list(policies), **settings}))
    new.replace(path)


def make(path: Path, value: int) -> Path:
    import h5py

    with h5py.File(path, "a") as file:
        file.attrs["value"] = value
        file.require_dataset("data", (100,), "i4")[...] = value
    return path


@pytest.mark.timeout(240)
def test_policies_are_added_changed_broken_and_mended(make_up: Any, data: Path, tmp_path: Path):
    up: Up = make_up()
    other = tmp_path / "other"
    other.mkdir()
    up.start()
    first = make(data / "first.h5", 1)
    wait_for(lambda: kept(first, data), "the first version", timeout=60)
    text_file = make(data / "run.raw", 1)
    added = make(other / "added.h5", 1)
    in_force = json.loads(up.config.read_text())["policies"][0]

    # A policy is added and a pattern changed, while files change.
    write(up.config, {**in_force, "include": ["*.h5", "*.raw"]}, policy(other))
    meanwhile = [make(data / f"meanwhile{n}.h5", n) for n in range(5)]
    for path, where in ((text_file, data), (added, other), *((p, data) for p in meanwhile)):
        wait_for(lambda p=path, w=where: kept(p, w), f"{path}", timeout=90)
    assert not up.said("died, starting it again"), up.dump()
    assert [each["name"] for each in up.status()["policies"]] == ["test", "other"]

    # A wrong one is refused, and said; what was in force stays, even for a role that dies.
    up.config.write_text("policies:\n  - watch: /data\n    settle: soon\n")
    os.kill(up.process.pid, signal.SIGHUP)
    wait_for(lambda: up.said("configuration refused, the old one stays"), "a refusal", timeout=60)
    (refused,) = up.said("configuration refused, the old one stays")
    assert f"{up.config}:3: policies[0].settle: 'soon' is not a duration" in refused["reason"]
    wait_for(lambda: up.status()["refused"], "the refusal in the status", timeout=60)
    assert up.status()["refused"][0]["reason"] == refused["reason"]
    worker = up.child("worker")
    worker.kill()
    wait_for(
        lambda: (found := up.child("worker")) is not None and found.pid != worker.pid,
        "another worker",
        timeout=60,
    )
    make(added, 2)
    wait_for(lambda: kept(added, other), "a version by the old one", timeout=90)

    # It is mended, without one of the directories: that one is left alone.
    write(up.config, in_force)
    wait_for(lambda: len(up.said("new configuration")) == 2, "the mended one", timeout=60)
    wait_for(lambda: not up.status()["refused"], "no refusal in the status", timeout=60)
    make(added, 3)
    make(first, 2)
    wait_for(lambda: kept(first, data), "a version by the mended one", timeout=90)
    assert len(versions(added, other)) == 2
    assert up.stop() == 0
