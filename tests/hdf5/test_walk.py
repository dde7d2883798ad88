from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5f, h5o, h5p, h5s, h5t

from vh5d.hdf5.dataset_info import Filter, Storage
from vh5d.hdf5.walk import Kind, LinkKind, walk


@pytest.fixture
def source(tmp_path):
    with h5py.File(tmp_path / "source.h5", "w") as f:
        yield f


def by_path(file: h5py.File) -> dict[str, object]:
    tree = walk(file.id)
    assert tree.problems == []
    return {item.path.decode(): item for item in tree}


def test_the_walk_goes_depth_first_and_begins_with_the_root(source):
    source["b/y"] = 1
    source["b/x"] = 2
    source["a"] = 3
    tree = walk(source.id)
    assert [item.path for item in tree] == [b"/", b"/a", b"/b", b"/b/x", b"/b/y"]
    assert tree.objects[tree.root].path == b"/"
    assert all(address == item.address for address, item in tree.objects.items())


def test_links_come_in_the_order_of_creation_where_it_is_tracked(source):
    group = source.create_group("g", track_order=True)
    for name in "cab":
        group[name] = 1
    assert [link.name for link in by_path(source)["/g"].links] == [b"c", b"a", b"b"]


def test_an_object_with_many_links_is_found_once_under_the_first(source):
    source["m"] = 1
    source["a/again"] = source["m"]
    source["z"] = source["m"]
    found = by_path(source)
    assert set(found) == {"/", "/a", "/a/again"}
    targets = {link.name: link.address for link in found["/"].links}
    assert targets[b"m"] == targets[b"z"] == found["/a/again"].address


def test_cycles_end(source):
    source.create_group("a/b")
    source["a/b/up"] = source["a"]
    source["a/b/root"] = source["/"]
    source["a/b/self"] = source["a/b"]
    assert set(by_path(source)) == {"/", "/a", "/a/b"}


def test_soft_external_and_dangling_links_are_told_and_not_followed(source):
    source["soft"] = h5py.SoftLink("/nowhere")
    source["external"] = h5py.ExternalLink("/dev/null", "inside")
    links = {link.name: link for link in by_path(source)["/"].links}
    assert links[b"soft"].kind is LinkKind.SOFT
    assert links[b"soft"].target == b"/nowhere"
    assert links[b"external"].kind is LinkKind.EXTERNAL
    assert (links[b"external"].file, links[b"external"].target) == (b"/dev/null", b"inside")


def test_a_thousand_levels_are_no_deeper_than_one(source):
    group = source
    for _ in range(1000):
        group = group.create_group("g")
    group.attrs["at"] = "the bottom"
    tree = walk(source.id)
    assert len(tree.objects) == 1001
    assert list(tree)[-1].path == b"/g" * 1000


def test_an_object_that_cannot_be_opened_is_told_and_the_rest_read(source):
    source["bad"] = np.arange(10)
    source["good"] = np.arange(10)
    at = h5o.get_info(source["bad"].id).addr
    path = Path(source.filename)
    source.close()
    with path.open("r+b") as raw:
        raw.seek(at)
        raw.write(b"\xff" * 16)
    with h5py.File(path, "r") as f:
        tree = walk(f.id)
    kinds = {item.path: item.kind for item in tree}
    assert kinds == {b"/": Kind.GROUP, b"/bad": Kind.UNREADABLE, b"/good": Kind.DATASET}
    assert len(tree.problems) == 1
    assert tree.problems[0].startswith("/bad: cannot be opened: ")


def test_no_identifier_stays_open(source):
    for i in range(20):
        source.create_group(f"g{i}").attrs["refs"] = np.array([source.ref], h5py.ref_dtype)
        source[f"g{i}/d"] = ["a", "b"]
        source[f"g{i}"].attrs["region"] = source[f"g{i}/d"].regionref[:1]
    before = h5f.get_obj_count(source.id, h5f.OBJ_ALL)
    walk(source.id)
    assert h5f.get_obj_count(source.id, h5f.OBJ_ALL) == before


def compact(file, name, values):
    dcpl = h5p.create(h5p.DATASET_CREATE)
    dcpl.set_layout(h5d.COMPACT)
    space = h5s.create_simple(values.shape)
    type_id = h5t.py_create(values.dtype)
    h5d.create(file.id, name.encode(), type_id, space, dcpl).write(h5s.ALL, h5s.ALL, values)


def test_every_dataset_is_classified_by_how_it_can_be_kept(source):
    source.create_dataset("chunked", (100,), "f4", chunks=(10,))
    source.create_dataset("large", data=np.zeros(1000))
    source.create_dataset("small", data=np.zeros(512))
    source.create_dataset("unwritten", (1000,), "f8")
    source.create_dataset("scalar", data=1.0)
    source.create_dataset("null", data=h5py.Empty("f4"))
    source.create_dataset("strings", data=["a"] * 1000)
    source.create_dataset("chunked strings", data=["a"] * 1000, chunks=(10,))
    source.create_dataset("references", (1000,), h5py.ref_dtype, chunks=(10,))
    kind = np.dtype([("a", "i4"), ("b", [("s", h5py.string_dtype(), (2,))])])
    source.create_dataset("nested strings", (1000,), kind, chunks=(10,))
    source.create_dataset("external", (4,), "i4", external=[("f.raw", 0, 16)])
    layout = h5py.VirtualLayout((4,), "i4")
    layout[:] = h5py.VirtualSource("f.h5", "x", (4,))
    source.create_virtual_dataset("virtual", layout)
    compact(source, "compact", np.arange(100))
    storage = {path: item.storage for path, item in by_path(source).items()}
    assert storage == {
        "/": None,
        "/chunked": Storage.CHUNKED,
        "/large": Storage.CONTIGUOUS,
        "/small": Storage.WHOLE,
        "/unwritten": Storage.WHOLE,
        "/scalar": Storage.WHOLE,
        "/null": Storage.WHOLE,
        "/strings": Storage.WHOLE,
        "/chunked strings": Storage.WHOLE,
        "/references": Storage.WHOLE,
        "/nested strings": Storage.WHOLE,
        "/external": Storage.DEFINITION,
        "/virtual": Storage.DEFINITION,
        "/compact": Storage.WHOLE,
    }


def test_a_dataset_tells_all_but_its_values(source):
    source.create_dataset(
        "d", (5, 7), ">u2", chunks=(2, 3), maxshape=(None, 9), shuffle=True, compression=4
    )
    info = by_path(source)["/d"].dataset
    assert info.shape == (5, 7)
    assert info.maxshape == (None, 9)
    assert info.chunks == (2, 3)
    assert info.itemsize == 2
    assert info.chunk_nbytes == 12
    assert info.filters == (
        Filter(2, h5py.h5z.FLAG_OPTIONAL, (2,), b"shuffle"),
        Filter(1, h5py.h5z.FLAG_OPTIONAL, (4,), b"deflate"),
    )


def test_contiguous_bytes_are_where_it_says_behind_a_userblock(tmp_path):
    path = tmp_path / "source.h5"
    values = np.arange(2000, dtype=">i4")
    with h5py.File(path, "w", userblock_size=1024) as f:
        f["d"] = values
    with h5py.File(path, "r") as f:
        info = by_path(f)["/d"].dataset
    with path.open("rb") as raw:
        raw.seek(info.offset)
        assert raw.read(info.nbytes) == values.tobytes()


def test_a_growing_virtual_dataset_is_told_without_looking_into_its_sources(tmp_path, source):
    with h5py.File(tmp_path / "part.h5", "w") as f:
        f.create_dataset("x", data=np.arange(50), maxshape=(None,), chunks=(10,))
    layout = h5py.VirtualLayout((10,), "i8", maxshape=(None,))
    part = h5py.VirtualSource(tmp_path / "part.h5", "x", (10,), "i8", maxshape=(None,))
    layout[: h5s.UNLIMITED] = part[: h5s.UNLIMITED]
    source.create_virtual_dataset("virtual", layout)
    path = source.filename
    source.close()
    with h5py.File(path, "r") as f:
        assert by_path(f)["/virtual"].dataset.shape == (10,)
        assert f["virtual"].shape == (50,), "HDF5 itself would have looked"


def test_what_attributes_and_values_refer_to_is_told(source):
    source["a"] = np.arange(5)
    source["b"] = np.array([source["a"].ref, h5py.Reference()], h5py.ref_dtype)
    source.create_group("c").attrs["part"] = source["a"].regionref[:2]
    found = by_path(source)
    a = found["/a"].address
    assert found["/b"].refers_to == {a}
    assert found["/b"].dataset.has_references
    assert found["/c"].refers_to == {a}
    assert found["/a"].refers_to == frozenset()


def test_ten_thousand_objects_take_little_time(tmp_path):
    path = tmp_path / "source.h5"
    with h5py.File(path, "w", libver="v110") as f:
        for i in range(2000):
            group = f.create_group(f"g{i}")
            group.attrs["class"] = "x"
            for j in range(4):
                group[f"d{j}"] = np.arange(5.0)
    with path.open("rb") as raw, h5py.File(raw, "r") as f:
        begin = time.process_time()
        assert len(walk(f.id).objects) == 10_001
        assert time.process_time() - begin < 4, "four times what it takes here"
