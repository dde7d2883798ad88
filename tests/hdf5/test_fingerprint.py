from __future__ import annotations

import h5py
import hdf5plugin  # noqa: F401  the corpus has data that went through bitshuffle and LZ4
import numpy as np
import pytest
from h5py import h5d, h5o, h5p, h5s, h5t

from tests.support.corpus import corpus_parameters
from tests.support.rebuild import rebuild
from vh5d.hdf5.walk import Kind, walk

STRINGS = h5py.string_dtype()


def dataset(file, *, layout=None, fill=None, times=None, allocation=None, name="x", **create):
    """Make a small dataset by h5py's low level, for what its high level cannot say."""
    dcpl = h5p.create(h5p.DATASET_CREATE)
    if layout is not None:
        dcpl.set_layout(layout)
    if fill is not None:
        dcpl.set_fill_value(np.array(fill, "i4"))
    if times is not None:
        dcpl.set_fill_time(times)
    if allocation is not None:
        dcpl.set_alloc_time(allocation)
    h5d.create(file.id, name.encode(), h5t.STD_I32LE, h5s.create_simple((4,)), dcpl)


def virtual(file, name="x.h5", inside="/x", to=4):
    layout = h5py.VirtualLayout((4,), "i4")
    layout[:to] = h5py.VirtualSource(name, inside, (9,))[:to]
    file.create_virtual_dataset("x", layout)


def referring(file, to="a", part=slice(0, 2)):
    file["a"], file["b"] = np.arange(4), np.arange(4)
    file["x"] = np.array([file[to].ref], h5py.ref_dtype)
    file.attrs["part"] = file["a"].regionref[part]


def dangling(file, keep=None):
    gone = file.create_group("gone").ref
    file["x"] = np.array([gone if keep is None else keep], h5py.ref_dtype)
    del file["gone"]


def ordered(file, names):
    group = file.create_group("x", track_order=True)
    for name in names:
        group[name] = 1


# Every pair is one object said in two ways, that must count as different.
CHANGES = {
    "kind": (lambda f: f.create_group("x"), lambda f: f.create_dataset("x", data=1)),
    "value of a scalar": (lambda f: f.__setitem__("x", 1), lambda f: f.__setitem__("x", 2)),
    "byte order": (
        lambda f: f.create_dataset("x", (9,), "<i4"),
        lambda f: f.create_dataset("x", (9,), ">i4"),
    ),
    "null or scalar": (
        lambda f: f.create_dataset("x", data=h5py.Empty("i4")),
        lambda f: f.create_dataset("x", dtype="i4", data=0),
    ),
    "shape": (
        lambda f: f.create_dataset("x", (3, 4), "f4", chunks=(1, 1)),
        lambda f: f.create_dataset("x", (4, 3), "f4", chunks=(1, 1)),
    ),
    "maximum shape": (
        lambda f: f.create_dataset("x", (3,), "f4", chunks=(2,)),
        lambda f: f.create_dataset("x", (3,), "f4", chunks=(2,), maxshape=(None,)),
    ),
    "chunk shape": (
        lambda f: f.create_dataset("x", (3,), "f4", chunks=(2,)),
        lambda f: f.create_dataset("x", (3,), "f4", chunks=(3,)),
    ),
    "filters": (
        lambda f: f.create_dataset("x", (3,), "f4", chunks=(2,), compression=1),
        lambda f: f.create_dataset("x", (3,), "f4", chunks=(2,), compression=2),
    ),
    "layout": (
        lambda f: dataset(f, layout=h5d.COMPACT),
        lambda f: dataset(f, layout=h5d.CONTIGUOUS),
    ),
    "fill value": (lambda f: dataset(f, fill=1), lambda f: dataset(f, fill=2)),
    "a fill value that is the default": (dataset, lambda f: dataset(f, fill=0)),
    "fill time": (
        lambda f: dataset(f, times=h5d.FILL_TIME_NEVER),
        lambda f: dataset(f, times=h5d.FILL_TIME_ALLOC),
    ),
    "allocation time": (
        lambda f: dataset(f, allocation=h5d.ALLOC_TIME_LATE),
        lambda f: dataset(f, allocation=h5d.ALLOC_TIME_INCR),
    ),
    "name of a compound's member": (
        lambda f: f.create_dataset("x", (3,), [("a", "i4")]),
        lambda f: f.create_dataset("x", (3,), [("b", "i4")]),
    ),
    "values of an enumeration": (
        lambda f: f.create_dataset("x", (3,), h5py.enum_dtype({"a": 1})),
        lambda f: f.create_dataset("x", (3,), h5py.enum_dtype({"a": 2})),
    ),
    "dimensions of an array type": (
        lambda f: f.create_dataset("x", (3,), np.dtype([("a", "i4", (2, 3))])),
        lambda f: f.create_dataset("x", (3,), np.dtype([("a", "i4", (3, 2))])),
    ),
    "character set": (
        lambda f: f.create_dataset("x", (3,), h5py.string_dtype("ascii")),
        lambda f: f.create_dataset("x", (3,), STRINGS),
    ),
    "element type of a sequence": (
        lambda f: f.create_dataset("x", (3,), h5py.vlen_dtype("i4")),
        lambda f: f.create_dataset("x", (3,), h5py.vlen_dtype("u4")),
    ),
    "a string": (
        lambda f: f.create_dataset("x", data=["a", "b"]),
        lambda f: f.create_dataset("x", data=["a", "c"]),
    ),
    "where strings are cut": (
        lambda f: f.create_dataset("x", data=["ab", "c"]),
        lambda f: f.create_dataset("x", data=["a", "bc"]),
    ),
    "a string of many": (
        lambda f: f.create_dataset("x", data=["a"] * 100, chunks=(9,)),
        lambda f: f.create_dataset("x", data=["a"] * 99 + ["b"], chunks=(9,)),
    ),
    "attribute": (lambda f: None, lambda f: f.attrs.create("n", 1)),
    "name of an attribute": (
        lambda f: f.attrs.create("n", 1),
        lambda f: f.attrs.create("m", 1),
    ),
    "value of an attribute": (
        lambda f: f.attrs.create("n", 1),
        lambda f: f.attrs.create("n", 2),
    ),
    "type of an attribute": (
        lambda f: f.attrs.create("n", 1, dtype="i4"),
        lambda f: f.attrs.create("n", 1, dtype="u4"),
    ),
    "shape of an attribute": (
        lambda f: f.attrs.create("n", [1, 1]),
        lambda f: f.attrs.create("n", [[1, 1]]),
    ),
    "order of attributes": (
        lambda f: f.create_group("x", track_order=True).attrs.update({"a": 1, "b": 2}),
        lambda f: f.create_group("x", track_order=True).attrs.update([("b", 2), ("a", 1)]),
    ),
    "order of links": (lambda f: ordered(f, "ab"), lambda f: ordered(f, "ba")),
    "target of a soft link": (
        lambda f: f.__setitem__("x", h5py.SoftLink("/a")),
        lambda f: f.__setitem__("x", h5py.SoftLink("/b")),
    ),
    "file of an external link": (
        lambda f: f.__setitem__("x", h5py.ExternalLink("a", "/x")),
        lambda f: f.__setitem__("x", h5py.ExternalLink("b", "/x")),
    ),
    "a second link instead of a second object": (
        lambda f: [f.create_group("x"), f.create_group("y")],
        lambda f: f.__setitem__("y", f.create_group("x")),
    ),
    "comment": (
        lambda f: h5o.set_comment(f.create_group("x").id, b"a"),
        lambda f: h5o.set_comment(f.create_group("x").id, b"b"),
    ),
    "named type": (
        lambda f: f.__setitem__("x", np.dtype("i4")),
        lambda f: f.__setitem__("x", np.dtype("i8")),
    ),
    "file of virtual data": (virtual, lambda f: virtual(f, name="y.h5")),
    "dataset of virtual data": (virtual, lambda f: virtual(f, inside="/y")),
    "selection of virtual data": (virtual, lambda f: virtual(f, to=3)),
    "external file": (
        lambda f: f.create_dataset("x", (4,), "i4", external=[("a", 0, 16)]),
        lambda f: f.create_dataset("x", (4,), "i4", external=[("b", 0, 16)]),
    ),
    "target of a reference": (referring, lambda f: referring(f, to="b")),
    "a reference that is null or dangles": (
        lambda f: dangling(f, keep=h5py.Reference()),
        dangling,
    ),
    "region": (referring, lambda f: referring(f, part=slice(1, 3))),
}


def fingerprints(path, build, **open_as) -> dict[bytes, bytes]:
    with h5py.File(path, "w", **open_as) as f:
        build(f)
    with h5py.File(path, "r") as f:
        tree = walk(f.id)
        assert tree.problems == []
        return {item.path: item.fingerprint for item in tree}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_changes_the_fingerprint(change, tmp_path):
    one, other = (fingerprints(tmp_path / f"{i}.h5", CHANGES[change][i]) for i in (0, 1))
    assert one != other


@pytest.mark.parametrize("change", CHANGES)
def test_where_things_lie_and_how_they_are_encoded_does_not(change, tmp_path):
    build = CHANGES[change][0]

    def build_behind_something(f):
        f.create_group("~").create_dataset("pad", data=np.zeros(5000))
        build(f)
        del f["~"]

    first = fingerprints(tmp_path / "a.h5", build)
    assert first == fingerprints(tmp_path / "b.h5", build_behind_something)
    assert first == fingerprints(tmp_path / "c.h5", build, userblock_size=2048)
    if "reference" not in change and "region" not in change and "order" not in change:
        assert first == fingerprints(tmp_path / "d.h5", build, libver="latest")


def test_a_change_is_seen_on_the_changed_object_only(tmp_path):
    def build(f, n=1):
        f.create_group("a/b").attrs["n"] = n
        f["a/c"] = 5

    one = fingerprints(tmp_path / "1.h5", build)
    other = fingerprints(tmp_path / "2.h5", lambda f: build(f, 2))
    assert [path for path in one if one[path] != other[path]] == [b"/a/b"]


def test_values_compared_by_their_stored_bytes_do_not_count(tmp_path):
    def build(f, n):
        f.create_dataset("chunked", data=np.full(100, n), chunks=(10,))
        f.create_dataset("large", data=np.full(1000, n))

    assert fingerprints(tmp_path / "1.h5", lambda f: build(f, 1)) == fingerprints(
        tmp_path / "2.h5", lambda f: build(f, 2)
    )


@pytest.mark.parametrize("path", corpus_parameters())
def test_a_copy_has_the_fingerprints_of_the_original(path, tmp_path):
    try:
        source = h5py.File(path, "r", locking=False)
    except OSError as error:
        pytest.skip(f"h5py cannot open it: {error}")
    with source, h5py.File(tmp_path / "copy.h5", "w", libver=source.libver) as target:
        tree = walk(source.id)
        if tree.problems:
            pytest.skip(f"HDF5 cannot read it: {tree.problems[0]}")
        rebuild(source, target, "copy")
        copies = {item.path: item.fingerprint for item in walk(target.id)}
        changed = {
            item.path
            for item in tree
            if not item.refers_to  # to what lies at other paths now
            and item.kind is not Kind.GROUP  # it has members at other paths now
            and item.fingerprint != copies[b"/copy" + item.path]
        }
        assert changed == set()


def test_fingerprints_are_sixteen_bytes_and_repeatable(tmp_path):
    one = fingerprints(tmp_path / "1.h5", referring)
    assert one == fingerprints(tmp_path / "1.h5", referring)
    assert {len(value) for value in one.values()} == {16}
    assert len(set(one.values())) == len(one) - 1, "a and b are twins"
