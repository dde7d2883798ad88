"""What a policy asks reaches the captures, of the service and of the command alike."""

from __future__ import annotations

import json
import stat

import h5py
import pytest

from tests.support.service import run_vh5d
from vh5d.policy import Policy
from vh5d.service.capturing.asked import capture_options
from vh5d.service.capturing.attempt import Attempt
from vh5d.service.catalog.source import State
from vh5d.store.reader import open_store

SETTINGS = {
    "exact": False,
    "version_name": "{stem}-{sequence}",
    "store_mode": "0640",
    "datasets": {"exclude": ["/clock"]},
    "limits": {"read_rate": "100 MB/s", "file_size": "1 MB"},
}


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    write(path / "run.h5", 1)
    return path


def write(path, clock):
    with h5py.File(path, "w") as file:
        file["x"] = 1
        file["clock"] = clock


def look_at(store):
    with open_store(store) as reader:
        names = [(each.name, each.kept_as) for each in reader.versions]
    return names, stat.S_IMODE(store.stat().st_mode)


EXPECTED = [("run-1", "content")], 0o640


def test_by_the_service(root, catalog):
    policy = Policy(name="p", watch=(str(root),), settle=0.5, **SETTINGS)
    attempt = Attempt({"p": policy}, catalog, random=lambda: 0.0)
    path = root / "run.h5"
    for clock in range(2):
        write(path, clock)
        assert attempt(path, "p") is State.CURRENT
    assert look_at(policy.store_for(path)) == EXPECTED
    options = capture_options(policy, path)
    assert (options.read_rate, options.file_size) == (100e6, 1_000_000)
    assert options.follow is None


def test_by_the_command(root, tmp_path):
    config = tmp_path / "vh5d.yaml"
    config.write_text(json.dumps({"policies": [{"name": "p", "watch": str(root), **SETTINGS}]}))
    path = root / "run.h5"
    for clock in range(2):
        write(path, clock)
        done = run_vh5d("snapshot", "--config", config, path, "--json")
        assert done.communicate(timeout=60)[1] == ""
    assert look_at(root / ".vh5d" / "run.h5") == EXPECTED


def test_by_the_command_for_once(root, tmp_path):
    done = run_vh5d("snapshot", "--content", root / "run.h5", "--store", tmp_path / "s.h5")
    out, _ = done.communicate(timeout=60)
    assert "v1 as content" in out


def test_every_setting_that_concerns_a_capture_is_asked_for(root):
    """None of them may be an option that does nothing."""
    policy = Policy(
        name="p", watch=(str(root),), follow=True, store_group="root", significant="content",
        compression="keep", **SETTINGS,
    )  # fmt: skip
    options = capture_options(policy, root / "run.h5", policies=(policy,))
    assert options.follow is not None
    assert options.counts is not None
    assert not options.counts("/clock")
    assert (options.store_group, options.significant, options.compression) == (
        "root", "content", "keep",
    )  # fmt: skip
