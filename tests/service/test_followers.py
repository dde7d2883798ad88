"""Files that lead to others: these are kept with them, inside of what is watched."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.support.history import sha256
from vh5d.capture.restore import restore
from vh5d.capture.together import restore_companions
from vh5d.policy import Config, Policy
from vh5d.service.capturing.attempt import Attempt
from vh5d.service.catalog.source import State
from vh5d.service.watching.rescan import look
from vh5d.store.compact import compact
from vh5d.store.companions import read_companions
from vh5d.store.layout import VERSIONS
from vh5d.store.prune import prune
from vh5d.store.reader import open_store
from vh5d.store.verify import verify


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    (path / "parts").mkdir(parents=True)
    return path


@pytest.fixture
def policy(root):
    return Policy(name="p", watch=(str(root),), settle=0.5, follow=True)


@pytest.fixture
def attempt(policy, catalog):
    return Attempt({policy.name: policy}, catalog, random=lambda: 0.0)


@pytest.fixture
def master(root, tmp_path):
    """A file with every way to lead to another, and some out of what is watched."""
    for number in range(2):
        part(root, number, 1.0)
    with h5py.File(root / "linked.h5", "w") as file:
        file["x"] = 1
    (root / "raw.bin").write_bytes(np.arange(100.0).tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = 1
    path = root / "master.h5"
    layout = h5py.VirtualLayout((2, 10), "f8")
    for number in range(2):
        layout[number] = h5py.VirtualSource(f"parts/{number}.h5", "x", (10,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("all", layout)
        file["link"] = h5py.ExternalLink("linked.h5", "/x")
        file["later"] = h5py.ExternalLink("later.h5", "/x")
        file["secret"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
        file["passwd"] = h5py.ExternalLink("/etc/passwd", "/x")
        file.create_dataset("raw", (100,), "f8", external=[(str(root / "raw.bin"), 0, 800)])
    return path


def part(root, number, value):
    with h5py.File(root / f"parts/{number}.h5", "w") as file:
        file["x"] = np.full(10, value)


def followed(policy, path, version="-1"):
    with open_store(policy.store_for(path)) as reader:
        name = reader.resolve(version).name
        return {each.path: each.version for each in read_companions(reader.file, name)}


def count(policy, path):
    with open_store(policy.store_for(path)) as reader:
        return len(reader.versions)


def test_what_a_file_leads_to_is_kept_with_it(attempt, policy, root, master, tmp_path, capsys):
    assert attempt(master, "p") is State.CURRENT
    assert followed(policy, master) == {
        "linked.h5": "v1",
        "later.h5": None,
        "parts/0.h5": "v1",
        "parts/1.h5": "v1",
        "raw.bin": "v1",
    }
    refused = [line for line in capsys.readouterr().out.splitlines() if "not followed" in line]
    assert len(refused) == 2
    assert all("outside" in line for line in refused)
    # All of it comes back, the file of raw numbers too.
    restore(policy.store_for(root / "raw.bin"), "v1", tmp_path / "raw.back")
    assert sha256(tmp_path / "raw.back") == sha256(root / "raw.bin")
    restore(policy.store_for(master), "v1", tmp_path / "master.back")
    assert sha256(tmp_path / "master.back") == sha256(master)


def test_they_are_restored_with_it(attempt, policy, root, master, tmp_path):
    attempt(master, "p")
    part(root, 1, 2.0)
    attempt(master, "p")
    target = tmp_path / "back" / "master.h5"
    target.parent.mkdir()
    restore(policy.store_for(master), "v1", target)
    restored, left = restore_companions(policy.store_for(master), "v1", target, source=master)
    assert sorted(str(each.target.relative_to(target.parent)) for each in restored) == [
        "linked.h5", "parts/0.h5", "parts/1.h5", "raw.bin",
    ]  # fmt: skip
    assert left == ("later.h5: not restored: it was not there",)
    with h5py.File(target, "r") as file:
        assert file["all"][()].tolist() == [[1.0] * 10] * 2
        assert file["link"][()] == 1
    _, left = restore_companions(policy.store_for(master), "v2", target, source=master)
    assert sum("exists" in line for line in left) == 4


def test_what_lies_above_is_not_restored_there(policy, catalog, root, tmp_path):
    with h5py.File(root / "above.h5", "w") as file:
        file["x"] = 1
    below = root / "parts/below.h5"
    with h5py.File(below, "w") as file:
        file["x"] = h5py.ExternalLink("../above.h5", "/x")
    Attempt({"p": policy}, catalog, random=lambda: 0.0)(below, "p")
    assert followed(policy, below) == {"../above.h5": "v1"}
    target = tmp_path / "deep/back.h5"
    target.parent.mkdir()
    restored, left = restore_companions(policy.store_for(below), "v1", target, source=below)
    assert restored == ()
    assert "not below" in left[0]


def test_a_change_of_one_is_a_change_of_what_leads_to_it(attempt, policy, catalog, root, master):
    attempt(master, "p")
    assert attempt(master, "p") is State.CURRENT
    assert count(policy, master) == 1
    part(root, 1, 2.0)
    assert attempt(root / "parts/1.h5", "p") is State.CURRENT
    assert catalog.retries.due() == [str(master)]
    attempt(master, "p")
    assert count(policy, master) == 2
    assert followed(policy, master)["parts/1.h5"] == "v2"
    assert followed(policy, master, "v1")["parts/1.h5"] == "v1"


def test_a_file_that_no_policy_means_is_seen_by_the_next_look(
    attempt, policy, catalog, root, master
):
    attempt(master, "p")
    config = Config(policies=(policy,))
    known = {path for path, _ in look(catalog, config).changed}
    assert master not in known
    (root / "raw.bin").write_bytes(np.arange(100.0)[::-1].tobytes())
    assert master in {path for path, _ in look(catalog, config).changed}
    catalog.claims.take(master, "p", "rescan")
    attempt(master, "p")
    assert followed(policy, master)["raw.bin"] == "v2"
    assert master not in {path for path, _ in look(catalog, config).changed}


def test_a_file_that_comes_later_is_followed_then(attempt, policy, root, master):
    attempt(master, "p")
    with h5py.File(root / "later.h5", "w") as file:
        file["x"] = 1
    attempt(master, "p")
    assert followed(policy, master)["later.h5"] == "v1"


def test_files_that_lead_to_each_other_come_to_rest(attempt, policy, root):
    one, other = root / "one.h5", root / "other.h5"
    for path, leads_to in ((one, "other.h5"), (other, "one.h5")):
        with h5py.File(path, "w") as file:
            file["it"] = h5py.ExternalLink(leads_to, "/")
    for _ in range(4):
        attempt(one, "p")
        attempt(other, "p")
    before = count(policy, one), count(policy, other)
    for _ in range(3):
        attempt(one, "p")
        attempt(other, "p")
    assert (count(policy, one), count(policy, other)) == before


def test_numbered_virtual_sources_are_followed(attempt, policy, root):
    path = root / "series.h5"
    for number in range(2):
        part(root, number, 1.0)
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    unlimited = h5py.h5s.create_simple((2, 10), (h5py.h5s.UNLIMITED, 10))
    unlimited.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), block=(1, 10))
    source = h5py.h5s.create_simple((10,))
    dcpl.set_virtual(unlimited, b"parts/%b.h5", b"/x", source)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((2, 10), (h5py.h5s.UNLIMITED, 10))
        h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F64LE, space, dcpl=dcpl)
    attempt(path, "p")
    assert set(followed(policy, path)) == {"parts/0.h5", "parts/1.h5"}


def test_the_list_survives_pruning_and_compacting(attempt, policy, root, master):
    attempt(master, "p")
    for value in (2.0, 3.0):
        part(root, 0, value)
        attempt(master, "p")
    store = policy.store_for(master)
    expected = followed(policy, master)
    assert expected["parts/0.h5"] == "v3"
    prune(store, ["v1"])
    compact(store)
    assert followed(policy, master) == expected
    assert verify(store).ok


def test_without_follow_nothing_is_looked_at(policy, catalog, root, master):
    alone = policy.model_copy(update={"follow": False})
    Attempt({"p": alone}, catalog, random=lambda: 0.0)(master, "p")
    assert followed(alone, master) == {}
    assert not policy.store_for(root / "raw.bin").exists()
    with h5py.File(policy.store_for(master), "r") as file:
        assert file[VERSIONS]["v1/all"].is_virtual
