from __future__ import annotations

import ctypes
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5, h5a, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.compare import differences
from vh5d.hdf5 import native
from vh5d.hdf5.attributes import copy_attributes
from vh5d.hdf5.fingerprint import Sketch


def nowhere(address: int) -> int | None:
    return None


@pytest.fixture
def source(tmp_path):
    with h5py.File(tmp_path / "source.h5", "w") as f:
        yield f


@pytest.fixture
def target(tmp_path):
    with h5py.File(tmp_path / "target.h5", "w", libver=("v110", "v110")) as f:
        yield f


# --- any type, any value: written and read by memory of the test's own -------------------------


def compound(members):
    offset, places = 1, []  # a gap at the front, and one after each member
    for member in members:
        places.append(offset)
        offset += member.get_size() + 1
    made = h5t.create(h5t.COMPOUND, offset)
    for i, (member, place) in enumerate(zip(members, places, strict=True)):
        made.insert(f"m{i}".encode(), place, member)
    return made


def fixed_string(size, cset, padding):
    made = h5t.C_S1.copy()
    made.set_size(size)
    made.set_cset(cset)
    made.set_strpad(padding)
    return made


def variable_string(cset):
    made = h5t.C_S1.copy()
    made.set_size(h5t.VARIABLE)
    made.set_cset(cset)
    return made


def opaque(size, tag):
    made = h5t.create(h5t.OPAQUE, size)
    made.set_tag(tag)
    return made


def enumeration(base):
    made = h5t.enum_create(base)
    made.enum_insert(b"OFF", 0)
    made.enum_insert(b"ON", 1)
    return made


CSETS = st.sampled_from([h5t.CSET_ASCII, h5t.CSET_UTF8])
PADDINGS = st.sampled_from([h5t.STR_NULLTERM, h5t.STR_NULLPAD, h5t.STR_SPACEPAD])
NUMBERS = [
    *(h5t.STD_I8LE, h5t.STD_I16BE, h5t.STD_I32LE, h5t.STD_U64BE, h5t.STD_U16LE),
    *(h5t.IEEE_F16LE, h5t.IEEE_F32BE, h5t.IEEE_F64LE, h5t.IEEE_F64BE),
    *(h5t.STD_B8LE, h5t.STD_B32BE, h5t.UNIX_D32LE, h5t.UNIX_D64BE),
]
ATOMS = st.one_of(
    st.sampled_from(NUMBERS),
    st.builds(fixed_string, st.integers(1, 9), CSETS, PADDINGS),
    st.builds(opaque, st.integers(1, 9), st.sampled_from([b"", b"image/png"])),
    st.builds(enumeration, st.sampled_from([h5t.STD_I8LE, h5t.STD_U16BE])),
)
LEAVES = st.one_of(ATOMS, st.builds(variable_string, CSETS))
DIMS = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)
TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(h5t.array_create, inner, DIMS),
        st.lists(inner, min_size=1, max_size=3).map(compound),
        inner.map(h5t.vlen_create),
    ),
    max_leaves=4,
)
SHAPES = st.sampled_from([None, (), (0,), (1,), (3,), (2, 2)])


def is_variable_string(kind):
    return kind.get_class() == h5t.STRING and kind.is_variable_str()


def values_of(kind):
    """Strategy for values of a type: bytes, lists and None."""
    if is_variable_string(kind):
        return st.none() | st.binary(max_size=5).map(lambda b: b.replace(b"\0", b"."))
    if kind.get_class() == h5t.VLEN:
        return st.lists(values_of(kind.get_super()), max_size=3)
    if kind.get_class() == h5t.ARRAY:
        count = math.prod(kind.get_array_dims())
        return st.lists(values_of(kind.get_super()), min_size=count, max_size=count)
    if kind.get_class() == h5t.COMPOUND:
        members = range(kind.get_nmembers())
        return st.tuples(*(values_of(kind.get_member_type(i)) for i in members)).map(list)
    return st.binary(min_size=kind.get_size(), max_size=kind.get_size())


def parts_of(kind, address):
    """Types and addresses of the members of a compound or the elements of an array."""
    if kind.get_class() == h5t.ARRAY:
        inner = kind.get_super()
        count = math.prod(kind.get_array_dims())
        return [(inner, address + i * inner.get_size()) for i in range(count)]
    members = range(kind.get_nmembers())
    return [(kind.get_member_type(i), address + kind.get_member_offset(i)) for i in members]


def store(kind, value, address, alive):
    if is_variable_string(kind):
        if value is not None:
            alive.append(ctypes.create_string_buffer(value))
            ctypes.c_size_t.from_address(address).value = ctypes.addressof(alive[-1])
    elif kind.get_class() == h5t.VLEN:
        inner = kind.get_super()
        block = ctypes.create_string_buffer(max(1, len(value) * inner.get_size()))
        alive.append(block)
        for i, each in enumerate(value):
            store(inner, each, ctypes.addressof(block) + i * inner.get_size(), alive)
        ctypes.c_size_t.from_address(address).value = len(value)
        ctypes.c_size_t.from_address(address + 8).value = ctypes.addressof(block)
    elif isinstance(value, list):
        for each, (inner, place) in zip(value, parts_of(kind, address), strict=True):
            store(inner, each, place, alive)
    else:
        ctypes.memmove(address, value, len(value))


def load(kind, address):
    if is_variable_string(kind):
        pointer = ctypes.c_size_t.from_address(address).value
        return ctypes.string_at(pointer) if pointer else None
    if kind.get_class() == h5t.VLEN:
        inner = kind.get_super()
        length, pointer = (ctypes.c_size_t.from_address(address + i).value for i in (0, 8))
        return [load(inner, pointer + i * inner.get_size()) for i in range(length)]
    if kind.get_class() in (h5t.ARRAY, h5t.COMPOUND):
        return [load(inner, place) for inner, place in parts_of(kind, address)]
    return ctypes.string_at(address, kind.get_size())


def space_of(shape):
    if shape is None:
        return h5s.create(h5s.NULL)
    return h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)


def read_all(attribute):
    space, kind = attribute.get_space(), attribute.get_type()
    if space.get_simple_extent_type() == h5s.NULL or not space.get_simple_extent_npoints():
        return []
    with native.attribute_values(attribute, kind, space) as values:
        return [load(kind, values.address + i * kind.get_size()) for i in range(values.count)]


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_type_and_value_is_copied_exactly(source, target, data):
    kind, shape = data.draw(TYPES), data.draw(SHAPES)
    count = 0 if shape is None else math.prod(shape)
    wanted = data.draw(st.lists(values_of(kind), min_size=count, max_size=count))
    for file in (source, target):
        if "a" in file.attrs:
            h5a.delete(file.id, b"a")
    made, alive = h5a.create(source.id, b"a", kind, space_of(shape)), []
    if count:
        values = native.Values(kind, space_of(shape), count)
        for i, value in enumerate(wanted):
            store(kind, value, values.address + i * kind.get_size(), alive)
        native.write_attribute(made, values)
    written = read_all(made)  # HDF5 takes no pointer and an empty sequence for the same

    assert copy_attributes(source["/"].id, target["/"].id, nowhere) == []

    copy = h5a.open(target.id, b"a")
    assert read_all(copy) == written
    assert copy.get_type().equal(kind)
    assert copy.get_space().shape == space_of(shape).shape
    assert copy.get_space().get_simple_extent_type() == space_of(shape).get_simple_extent_type()
    assert sketched(source) == sketched(target)


def sketched(file):
    sketch = Sketch(file.id)
    sketch.add_attributes(file["/"].id, tracked=False)
    assert sketch.unread == []
    return sketch.finish(lambda address: None)


# --- what properties do not reach ----------------------------------------------------------------


def test_names_keep_their_order_and_character_set(source, target):
    there = source.create_group("g", track_order=True)
    here = target.create_group("g", track_order=True)
    for name in ("z", "é", "a"):
        there.attrs[name] = name
    create_utf8_attribute(there, "ü".encode())
    assert h5a.get_info(there.id, "ü".encode()).cset == h5t.CSET_UTF8

    assert copy_attributes(there.id, here.id, nowhere) == []

    assert list(here.attrs) == ["z", "é", "a", "ü"]
    assert h5a.get_info(here.id, "ü".encode()).cset == h5t.CSET_UTF8
    assert h5a.get_info(here.id, b"z").cset == h5t.CSET_ASCII


def create_utf8_attribute(group, name):
    """Make an attribute whose name is marked as UTF-8: netCDF does, h5py cannot."""
    library = ctypes.PyDLL(h5.__file__)
    create, make_list = library.H5Acreate2, library.H5Pcreate
    create.restype = make_list.restype = ctypes.c_int64
    kind = ctypes.c_int64.in_dll(library, "H5P_CLS_ATTRIBUTE_CREATE_ID_g")
    plist = make_list(kind)
    library.H5Pset_char_encoding(ctypes.c_int64(plist), h5t.CSET_UTF8)
    space = h5s.create(h5s.SCALAR)
    ids = [ctypes.c_int64(i) for i in (h5t.STD_I8LE.id, space.id, plist, 0)]
    h5a.AttrID(create(ctypes.c_int64(group.id.id), ctypes.c_char_p(name), *ids))


def test_five_thousand_attributes_are_kept_in_order(tmp_path, target):
    with h5py.File(tmp_path / "many.h5", "w", libver="latest", track_order=True) as f:
        for i in reversed(range(5000)):
            f.attrs.create(f"attribute {i}", i)
        copy = target.create_group("copy", track_order=True)
        assert copy_attributes(f["/"].id, copy.id, nowhere) == []
        assert list(copy.attrs) == list(f.attrs)
        assert dict(copy.attrs) == dict(f.attrs)


def test_an_attribute_larger_than_a_header_message_is_kept(tmp_path, target):
    with h5py.File(tmp_path / "large.h5", "w", libver="latest") as f:
        f.attrs["large"] = np.arange(100_000)
        assert copy_attributes(f["/"].id, target["/"].id, nowhere) == []
        assert np.array_equal(target.attrs["large"], f.attrs["large"])


def test_a_committed_type_becomes_an_ordinary_one(source, target):
    source["kind"] = np.dtype([("x", ">f4")])
    source.attrs.create("a", np.zeros(2, source["kind"].dtype), dtype=source["kind"])
    assert copy_attributes(source["/"].id, target["/"].id, nowhere) == []
    copy = h5a.open(target.id, b"a").get_type()
    assert not copy.committed()
    assert copy.dtype == source["kind"].dtype


def test_references_at_any_depth_are_translated(source, target):
    x, y = source.create_dataset("x", data=np.arange(9)), target.create_dataset("y", (9,), "i8")
    inner = np.dtype([("n", "u1"), ("to", h5py.ref_dtype, (2,))])
    value = np.zeros(2, np.dtype([("part", h5py.regionref_dtype), ("in", inner)]))
    value["part"] = x.regionref[2:4], None
    value["in"]["to"] = None, x.ref
    source.attrs.create("nested", value, dtype=value.dtype)
    sequences = np.empty(2, object)
    sequences[0], sequences[1] = (np.array([x.ref] * n, h5py.ref_dtype) for n in (1, 3))
    source.attrs.create("sequences", sequences, dtype=h5py.vlen_dtype(h5py.ref_dtype))
    places = {native_address(x): native_address(y)}

    assert copy_attributes(source["/"].id, target["/"].id, places.get) == []

    nested = target.attrs["nested"]
    assert target[nested["part"][0]] == y
    assert y[nested["part"][0]].shape == (2,)
    assert not nested["part"][1]
    assert [[bool(r) for r in row] for row in nested["in"]["to"]] == [[False, True]] * 2
    assert target[nested["in"]["to"][1, 1]] == y
    assert [[target[r] for r in row] for row in target.attrs["sequences"]] == [[y], [y] * 3]


def test_sequences_of_regions_which_crash_h5py_are_translated(source, target):
    x, y = source.create_dataset("x", data=np.arange(9)), target.create_dataset("y", (9,), "i8")
    space = h5s.create_simple((9,))
    space.select_hyperslab((3,), (2,))
    kind = h5t.vlen_create(h5t.STD_REF_DSETREG)
    made = h5a.create(source.id, b"a", kind, h5s.create_simple((1,)))
    values, alive = native.Values(kind, h5s.create_simple((1,)), 1), []
    store(kind, [native.create_region(x.id, space)] * 2, values.address, alive)
    native.write_attribute(made, values)
    places = {native_address(x): native_address(y)}

    assert copy_attributes(source["/"].id, target["/"].id, places.get) == []

    [regions] = read_all(h5a.open(target.id, b"a"))
    assert len(regions) == 2
    dataset, part = native.open_region(target.id, regions[1])
    assert dataset == y.id
    assert part.get_select_bounds() == ((3,), (4,))


def test_what_cannot_be_kept_is_told_and_the_rest_is_kept(source, target):
    library = ctypes.PyDLL(h5.__file__)
    newer = h5t.TypeReferenceID(ctypes.c_int64.in_dll(library, "H5T_STD_REF_g").value).copy()
    h5a.create(source.id, b"newer", newer, h5s.create(h5s.SCALAR))
    source.attrs["number"] = 5
    source["gone"] = 1
    source.attrs["to"] = source["gone"].ref

    warnings = copy_attributes(source["/"].id, target["/"].id, nowhere, path=b"/here")

    assert warnings == [
        "/here: attribute newer is not kept: its references are of a kind that h5py does not know",
        "/here: attribute to: 1 references point at nothing that is kept",
    ]
    assert sorted(target.attrs) == ["number", "to"]
    assert target.attrs["number"] == 5
    assert not target.attrs["to"]


def test_a_name_that_is_taken_is_told(source, target):
    source.attrs["n"], target.attrs["n"] = 1, 2
    [warning] = copy_attributes(source["/"].id, target["/"].id, nowhere, path=b"/")
    assert warning.startswith("/: attribute n is not kept: ")
    assert target.attrs["n"] == 2


def test_only_those_selected_are_copied(source, target):
    source.attrs["a"], source.attrs["b"] = 1, 2
    copy_attributes(source["/"].id, target["/"].id, nowhere, select=lambda name: name == b"a")
    assert list(target.attrs) == ["a"]


def test_memory_of_variable_length_values_is_given_back(source, target):
    source.attrs["text"] = ["x" * 30_000] * 10
    source.attrs.create("rows", rows(30_000), dtype=h5py.vlen_dtype("f8"))

    def copy():
        for name in list(target.attrs):
            h5a.delete(target.id, name.encode())
        assert copy_attributes(source["/"].id, target["/"].id, nowhere) == []
        sketched(source)

    for _ in range(5):
        copy()
    before = resident_nbytes()
    for _ in range(60):
        copy()
    assert resident_nbytes() - before < 20_000_000, "60 copies of 0.8 MB, lost once, are 47 MB"
    assert differences(source, target) == []


def rows(n):
    made = np.empty(2, object)
    made[:] = [np.arange(n, dtype="f8")] * 2
    return made


def resident_nbytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def native_address(item):
    return h5py.h5o.get_info(item.id).addr
