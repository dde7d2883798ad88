"""`vh5d tag`, and tags where versions are named and listed."""

from __future__ import annotations


def test_a_tag_is_shown_and_good_for_a_version(source, store, vh5d):
    done = vh5d("tag", source, "-2", "best")
    assert done.code == 0
    assert done.out.startswith(f"{store}: v1 of ")
    assert done.out.endswith(" is best\n")
    assert vh5d("log", source, "--json").json["versions"][1]["tags"] == ["best"]
    line = vh5d("log", source).out.splitlines()[2]
    assert line.split()[0] == "v1"
    assert "  best  " in line
    assert vh5d("show", source, "best").code == 0


def test_tags_are_listed_newest_version_first(source, store, vh5d):
    assert vh5d("tag", source).out == "no tags yet\n"
    vh5d("tag", source, "v1", "raw")
    vh5d("tag", source, "v2", "clean")
    listed = vh5d("tag", source).out.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["clean", "v2"], ["raw", "v1"]]
    found = vh5d("tag", source, "--json").json
    assert found["store"] == str(store)
    assert [(each["name"], each["sequence"]) for each in found["tags"]] == [
        ("clean", 2),
        ("raw", 1),
    ]


def test_a_tag_is_taken_off(source, store, vh5d):
    vh5d("tag", source, "v1", "raw")
    done = vh5d("tag", source, "--delete", "raw")
    assert done.out == f"{store}: raw is no tag any more\n"
    done = vh5d("tag", source, "--delete", "raw")
    assert done.code == 2
    assert "no version has the tag 'raw'" in done.line


def test_a_version_needs_a_name(source, store, vh5d):
    assert vh5d("tag", source, "v1").code == 2
    assert store.exists()


def test_a_tag_of_another_version_is_moved_when_told(source, store, vh5d):
    vh5d("tag", source, "v1", "best")
    done = vh5d("tag", source, "v2", "best")
    assert done.code == 2
    assert "say --move" in done.line
    assert vh5d("tag", source, "v2", "best", "--move").code == 0
    assert vh5d("log", source, "--json").json["versions"][0]["tags"] == ["best"]
    assert store.exists()
