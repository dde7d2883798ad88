"""Staged datasets do what h5py's datasets do: every case is run on both."""

from __future__ import annotations

import h5py
import hdf5plugin
import ndindex
import numpy as np
import pytest

COMPOUND = np.dtype([("a", "i4"), ("b", "f8", (2,))])
KINDS = {
    "int": lambda: np.arange(60).reshape(12, 5),
    "big-endian": lambda: np.arange(60, dtype=">u2").reshape(12, 5),
    "float": lambda: np.linspace(0, 1, 60).reshape(12, 5),
    "half": lambda: np.arange(60, dtype="f2").reshape(12, 5),
    "complex": lambda: (np.arange(60) * 1j).reshape(12, 5),
    "bool": lambda: (np.arange(60) % 3 == 0).reshape(12, 5),
    "bytes": lambda: np.array([b"%d" % i for i in range(60)]).reshape(12, 5),
    "compound": lambda: np.array([(i, (i, -i)) for i in range(60)], COMPOUND).reshape(12, 5),
    "opaque": lambda: np.array([bytes([i, i]) for i in range(60)], "V2").reshape(12, 5),
    "texts": lambda: np.array([f"é{i}" for i in range(60)], object).reshape(12, 5),
    "numpy texts": lambda: np.array([f"é{i}" for i in range(60)], "T").reshape(12, 5),
    "enum": lambda: np.arange(60).reshape(12, 5).astype(h5py.enum_dtype({"A": 1, "B": 2}, "i4")),
}


def listed(value):
    if isinstance(value, h5py.Empty):
        return "empty", str(value.dtype)
    array = np.asarray(value)
    return array.shape, array.dtype.kind, repr(array.tolist())


def replaced(d):
    d[...] = d[()][::-1]


CASES = {
    "everything": lambda d: listed(d[()]),
    "ellipsis": lambda d: listed(d[...]),
    "element": lambda d: listed(d[3, 4]),
    "negative": lambda d: listed(d[-1, -2]),
    "steps": lambda d: listed(d[1:10:3, ::2]),
    "list": lambda d: listed(d[[0, 5, 7], 2]),
    "mask": lambda d: listed(d[np.arange(12) % 2 == 0]),
    "full mask": lambda d: listed(d[np.arange(60).reshape(12, 5) % 7 == 0]),
    "zero-size": lambda d: listed(d[3:3]),
    "beyond": lambda d: d[12],
    "too many": lambda d: d[0, 0, 0],
    "backwards": lambda d: d[::-1],
    "unordered": lambda d: d[[5, 2]],
    "newaxis": lambda d: d[None],
    "name": lambda d: listed(d["a"]),
    "write element": lambda d: d.__setitem__((3, 4), d[0, 0]),
    "write row": lambda d: d.__setitem__(3, d[0]),
    "write block": lambda d: d.__setitem__(np.s_[2:9, 1:3], d[1:8, 0:2]),
    "write steps": lambda d: d.__setitem__(np.s_[::4], d[1:4]),
    "write list": lambda d: d.__setitem__([0, 3], d[[1, 2]]),
    "write mask": lambda d: d.__setitem__(np.arange(12) > 6, d[:5]),
    "write all": replaced,
    "broadcast": lambda d: d.__setitem__(np.s_[2:5], d[0]),
    "write a wrong shape": lambda d: d.__setitem__(0, d[:3, :4]),
    "write beyond": lambda d: d.__setitem__(12, d[0]),
    "grow": lambda d: d.resize((14, 7)),
    "grow an axis": lambda d: d.resize(20, axis=0),
    "shrink": lambda d: d.resize((7, 3)),
    "shrink and grow": lambda d: (d.resize((5, 2)), d.resize((12, 5))),
    "grow and write": lambda d: (d.resize((13, 5)), d.__setitem__(12, d[0])),
    "to nothing and back": lambda d: (d.resize((0, 5)), d.resize((12, 5))),
    "beyond the limit": lambda d: d.resize((12, 99)),
    "another rank": lambda d: d.resize((12,)),
    "a wrong axis": lambda d: d.resize(3, axis=2),
    "resize by shape": lambda d: setattr(d, "shape", (3, 3)),
    "properties": lambda d: (
        d.shape, d.size, d.ndim, d.nbytes, len(d), d.len(), d.chunks, d.maxshape,
        str(d.dtype), d.compression, d.shuffle, d.fletcher32,
    ),
    "iteration": lambda d: [listed(row) for row in d],
    "chunks": lambda d: list(d.iter_chunks()),
    "chunks of a part": lambda d: list(d.iter_chunks(np.s_[2:9, 1:3])),
    "as array": lambda d: listed(np.asarray(d)),
    "as float": lambda d: listed(d.astype("f8")[2:4]),
    "as text": lambda d: listed(d.asstr()[2:4]),
    "fields": lambda d: listed(d.fields(["a"])[2:4]),
    "one field": lambda d: listed(d.fields("b")[2:4]),
    "write a field": lambda d: d.__setitem__("a", 5),
    "read direct": lambda d: (out := np.zeros((4, 5), d.dtype), d.read_direct(out, np.s_[2:6]),
                              listed(out))[2],
    "write direct": lambda d: d.write_direct(d[:3].copy(), None, np.s_[5:8]),
    "attributes": lambda d: (d.attrs.__setitem__("u", "mm"), d.attrs.create("n", 3, dtype="u1"),
                             d.attrs.modify("n", 4), sorted(d.attrs)),
    "fill value": lambda d: listed(d.fillvalue),
    "flush": lambda d: d.flush(),
    "equality": lambda d: (bool(d == d.parent["d"]), bool(d), hash(d) == hash(d.parent["d"])),
}  # fmt: skip


def outcome(case, dataset):
    try:
        return case(dataset)
    except Exception as error:  # noqa: BLE001 - whatever h5py raises
        return type(error)


def make(group, kind):
    values = KINDS[kind]()
    dtype = h5py.string_dtype() if kind in ("texts", "numpy texts") else None
    group.create_dataset(
        "d", data=values, dtype=dtype, chunks=(4, 3), maxshape=(None, 10), compression="gzip"
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    with h5py.File(tmp_path_factory.mktemp("d") / "plain.h5", "w") as file:
        yield file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["h5py"], indirect=True)
def test_as_h5py_does(kind, vf, file, reopen):
    with vf.stage_version("start") as group:
        make(group, kind)
    for i, (name, case) in enumerate(CASES.items()):
        plain = file.create_group(f"{kind}-{i}")
        make(plain, kind)
        with vf.stage_version(f"new {i}", prev_version="") as group:
            make(group, kind)
            new = outcome(case, group["d"])
        with vf.stage_version(f"edited {i}", prev_version="start") as group:
            got = outcome(case, group["d"])
        want = outcome(case, plain["d"])
        assert (name, new) == (name, want)
        assert (name, got) == (name, want)
    vf = reopen("r")
    for i, name in enumerate(CASES):
        for version in ("new", "edited"):
            mine, plain = vf[f"{version} {i}"]["d"], file[f"{kind}-{i}/d"]
            assert (name, listed(mine[()])) == (name, listed(plain[()]))
            assert (mine.maxshape, mine.chunks) == (plain.maxshape, plain.chunks)
            assert dict(mine.attrs) == dict(plain.attrs)
    make(file.create_group(kind), kind)
    assert listed(vf["start"]["d"][()]) == listed(file[kind]["d"][()])


def test_indexes_of_ndindex(vf):
    with vf.stage_version("v1") as group:
        group.create_dataset("x", data=np.arange(100).reshape(10, 10), chunks=(3, 3))
    with vf.stage_version("v2") as group:
        x = group["x"]
        assert x[ndindex.Tuple(ndindex.Slice(0, 2), 3)].tolist() == [3, 13]
        x[ndindex.Slice(8, 10)] = 0
        assert x[ndindex.Integer(9)].tolist() == [0] * 10
    assert vf["v2"]["x"][ndindex.Integer(9)].tolist() == [0] * 10
    assert vf["v1"]["x"][9, 9] == 99


FILTERS = {
    "gzip": {"compression": "gzip", "compression_opts": 9},
    "lzf": {"compression": "lzf"},
    "shuffle and checksum": {"shuffle": True, "fletcher32": True},
    "scale-offset": {"scaleoffset": 0},
    "zstd": hdf5plugin.Zstd(),
    "blosc": hdf5plugin.Blosc(cname="lz4"),
    "bitshuffle": hdf5plugin.Bitshuffle(),
}


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("path", ["h5py"], indirect=True)
def test_filters(vf, filters, reopen):
    data = np.arange(10_000, dtype="i4")
    with vf.stage_version("v1") as group:
        group.create_dataset("x", data=data, chunks=(1000,), maxshape=(None,), **filters)
        kept = group["x"].filter_ids
    with vf.stage_version("v2") as group:
        group["x"][2500] = -1
        group["x"].resize((11_000,))
    vf = reopen("r")
    assert np.array_equal(vf["v1"]["x"], data)
    assert vf["v1"]["x"].filter_ids == vf["v2"]["x"].filter_ids == kept
    data[2500] = -1
    assert np.array_equal(vf["v2"]["x"][:10_000], data)
    assert vf["v2"]["x"][10_000:].tolist() == [0] * 1000


def test_type_chunks_and_filters_may_change_between_versions(vf):
    data = np.arange(5000)
    with vf.stage_version("v1") as group:
        group.create_dataset("x", data=data, chunks=(500,))
    with vf.stage_version("v2") as group:
        del group["x"]
        group.create_dataset("x", data=data.astype("f4"), chunks=(700,), compression="gzip")
    with vf.stage_version("v3") as group:
        del group["x"]
        group["x"] = "text"
    assert vf["v1"]["x"][4999] == vf["v2"]["x"][4999] == 4999
    assert (vf["v2"]["x"].dtype, vf["v2"]["x"].chunks) == (np.dtype("f4"), (700,))
    assert vf["v3"]["x"][()] == b"text"


@pytest.mark.parametrize(
    "data",
    [np.arange(10), np.arange(10_000), np.ones((30, 40)), np.array(["a", "b"], object), [1, 2, 3]],
    ids=["small", "large", "2-D", "texts", "list"],
)
def test_a_dataset_without_a_limit_given_can_be_resized(vf, data, reopen):
    with vf.stage_version("v1") as group:
        group["x"] = data
        group["y"] = data
        group["y"].resize(len(data) + 1, axis=0)
    longer = len(data) + 5
    with vf.stage_version("v2") as group:
        group["x"].resize(longer, axis=0)
        group["x"][longer - 1] = group["x"][0]
    vf = reopen("r")
    assert vf["v1"]["x"].shape == np.shape(data)
    assert len(vf["v1"]["y"]) == len(data) + 1
    second = vf["v2"]["x"]
    assert listed(second[longer - 1]) == listed(second[0])
    assert listed(second[: len(data)]) == listed(vf["v1"]["x"][()])
    assert listed(second[len(data)]) == listed(np.full_like(second[0], second.fillvalue))


def test_values_of_a_dataset_under_two_names_are_one(vf):
    with vf.stage_version("v1") as group:
        group["a/x"] = np.arange(10_000)
        group["b/x"] = group["a/x"]
    with vf.stage_version("v2") as group:
        group["a/x"][0] = -1
    assert vf["v2"]["b/x"][0] == -1
    assert vf["v2"]["a/x"] == vf["v2"]["b/x"]
    assert vf["v1"]["b/x"][0] == 0


def test_data_larger_than_memory_allows_goes_to_a_temporary_file(vf, monkeypatch):
    monkeypatch.setattr("vh5d.versioned.draft_values.DEFAULT_BUDGET", 100_000)
    data = np.random.default_rng(0).integers(0, 100, 200_000)
    with vf.stage_version("v1") as group:
        x = group.create_dataset("x", data.shape, "i8", chunks=(10_000,))
        for i in range(0, len(data), 10_000):
            x[i : i + 10_000] = data[i : i + 10_000]
    assert np.array_equal(vf["v1"]["x"], data)
