"""Tags: names that stay with their versions, whatever becomes of the others."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import vh5d
from tests.support.history import History
from vh5d.errors import UsageError, VersionNotFoundError
from vh5d.store import chain
from vh5d.store.compact import compact
from vh5d.store.prune import prune
from vh5d.store.reader import open_store
from vh5d.store.tags import put, tag, untag
from vh5d.store.transaction import begin
from vh5d.store.verify import verify


@pytest.fixture
def history(tmp_path):
    history = History(tmp_path)
    for i in range(4):
        history.edit(lambda file, i=i: file.__setitem__(f"d{i}", np.arange(100) * i))
    return history


def tags(store):
    with open_store(store) as reader:
        return {each.name: each.tags for each in reader.versions if each.tags}


def names(store):
    with open_store(store) as reader:
        return [each.name for each in reader.versions]


def head(store):
    with open_store(store) as reader:
        return chain.head(reader.file)


def test_a_tag_is_good_wherever_a_version_is(history):
    tagged = tag(history.store, "-2", "best")
    assert (tagged.name, tagged.tags) == ("v3", ("best",))
    tag(history.store, "best", "published")
    assert tags(history.store) == {"v3": ("best", "published")}
    with open_store(history.store) as reader:
        assert reader.resolve("published").name == "v3"
        assert reader.resolve("v3").name == "v3"


def test_tags_are_no_other_history(history):
    before = head(history.store)
    tag(history.store, "v2", "best")
    untag(history.store, "best")
    tag(history.store, "v1", "first-light")
    assert head(history.store) == before
    assert verify(history.store).ok


def test_a_tag_is_moved_only_when_told(history):
    tag(history.store, "v1", "best")
    with pytest.raises(UsageError, match="'best' is a tag of 'v1'"):
        tag(history.store, "v2", "best")
    tag(history.store, "v1", "best")  # it has it: nothing to do
    tag(history.store, "v2", "best", move=True)
    assert tags(history.store) == {"v2": ("best",)}


@pytest.mark.parametrize("name", ["", "-1", "@noon", "a b", "v7", "v", "x" * 65, "a/b", "a\n"])
def test_what_cannot_be_a_tag(history, name):
    if name == "v":
        assert tag(history.store, "v1", name).tags == ("v",)
        return
    with pytest.raises(UsageError):
        tag(history.store, "v1", name)
    assert tags(history.store) == {}


def test_a_tag_that_is_nobodys_cannot_be_taken_off(history):
    with pytest.raises(VersionNotFoundError, match="no version has the tag 'best'"):
        untag(history.store, "best")
    with pytest.raises(VersionNotFoundError):
        tag(history.store, "v9x", "best")


def test_a_tagged_version_is_not_dropped_by_its_name(history):
    tag(history.store, "v2", "best")
    for chosen in (["v1", "v2"], lambda version: version.sequence < 3):
        with pytest.raises(UsageError, match="'v2' has the tag 'best'"):
            prune(history.store, chosen)
    with pytest.raises(UsageError):
        vh5d.delete_versions(history.store, "v2")
    assert names(history.store) == ["v1", "v2", "v3", "v4"]
    prune(history.store, ["v1"])
    assert tags(history.store) == {"v2": ("best",)}


def test_a_tag_goes_with_its_version(history):
    tag(history.store, "v2", "best")
    prune(history.store, ["v2"], tagged=True)
    assert tags(history.store) == {}
    assert verify(history.store).ok
    tag(history.store, "v3", "best")
    assert tags(history.store) == {"v3": ("best",)}


def test_tags_stay_when_the_store_is_rewritten(history):
    tag(history.store, "v2", "best")
    tag(history.store, "v4", "größte")
    prune(history.store, ["v1"])
    compact(history.store)
    assert tags(history.store) == {"v2": ("best",), "v4": ("größte",)}
    history.edit(lambda file: file.__setitem__("more", 1))
    assert tags(history.store) == {"v2": ("best",), "v4": ("größte",)}


def test_many_tags(history):
    for i in range(40):  # more than HDF5 keeps in an object header
        tag(history.store, "v1", f"t{i:02}")
    untag(history.store, "t07")
    assert len(tags(history.store)["v1"]) == 39
    assert verify(history.store).ok


def test_tags_of_versions_that_were_staged_from_python(tmp_path):
    store = tmp_path / "own.h5"
    with vh5d.open(store, "a") as file:
        with file.stage_version("raw") as staged:
            staged["x"] = np.arange(10)
        with file.stage_version("clean") as staged:
            staged["x"][:] = 0
    tag(store, "raw", "keep")
    with vh5d.open(store, "a") as file, file.stage_version("cleaner") as staged:
        staged["x"][:] = 1
    assert tags(store) == {"raw": ("keep",)}
    with pytest.raises(UsageError, match="'clean' is what a version is called"):
        tag(store, "raw", "clean")


def test_verify_finds_a_tag_of_no_version(history):
    with begin(history.store, create=False) as transaction:
        put(transaction.file, "lost", 77)
        transaction.commit()
    found = verify(history.store)
    assert [(each.kind, each.message) for each in found.problems] == [
        ("tag", "the tag 'lost' is of no version")
    ]


@pytest.mark.parametrize("value", ["v1", 1.0, [1, 2], 1 << 40])
def test_what_others_wrote_there_is_no_tag_and_is_found(history, value):
    tag(history.store, "v1", "best")
    with h5py.File(history.store, "r+") as file:
        file["_version_data/tags"].attrs["odd"] = value
    assert tags(history.store) == {"v1": ("best",)}
    assert [each.kind for each in verify(history.store).problems] == ["tag"]
    untag(history.store, "odd")
    assert verify(history.store).ok


def test_others_see_a_tag_as_an_attribute(history):
    tag(history.store, "v2", "best")
    with h5py.File(history.store) as file:
        assert dict(file["_version_data/tags"].attrs) == {"best": 2}
