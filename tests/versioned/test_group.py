"""Staged groups do what h5py's groups do: every case is run on both."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.support.compare import differences


def shown(obj):  # noqa: PLR0911
    """What an h5py or a staged object says of itself."""
    if isinstance(obj, h5py.Group):
        return "group", list(obj), attributes(obj)
    if isinstance(obj, h5py.Dataset):
        value = obj[()] if obj.shape is not None else None
        if h5py.check_ref_dtype(obj.dtype) is h5py.Reference:
            value = [list(obj.parent[r].attrs) for r in value]
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        return "dataset", obj.shape, str(obj.dtype), value, attributes(obj)
    if isinstance(obj, h5py.Datatype):
        return "datatype", str(obj.dtype)
    if isinstance(obj, h5py.SoftLink):
        return "soft", obj.path
    if isinstance(obj, h5py.ExternalLink):
        return "external", obj.filename, obj.path
    if isinstance(obj, h5py.HardLink):
        return "hard"
    return obj


def attributes(obj):
    own = ("prev_version", "committed", "timestamp", "sequence")
    values = {name: obj.attrs[name] for name in obj.attrs if name not in own}
    return {
        name: "reference" if isinstance(value, h5py.Reference) else np.asarray(value).tolist()
        for name, value in values.items()
    }


def tree(group):
    found = {}
    group.visititems(lambda name, obj: found.__setitem__(name, shown(obj)))
    links = {name: shown(group.get(name, getlink=True)) for name in group}
    return found, links


def start(group):
    """What both begin with."""
    group["x"] = np.arange(10)
    group["a/b/y"] = np.arange(6.0).reshape(2, 3)
    group["a/b"].attrs["unit"] = "mm"
    group["a/soft"] = h5py.SoftLink("b/y")
    group["text"] = "hello"
    group["alias"] = group["x"]


CASES = {
    "create group": lambda g: g.create_group("n"),
    "create nested group": lambda g: g.create_group("n/m/o").create_group("p"),
    "create group in loaded": lambda g: g["a"].create_group("n"),
    "create taken group": lambda g: g.create_group("a"),
    "create taken group below": lambda g: g.create_group("a/b"),
    "create group over dataset": lambda g: g.create_group("x/y"),
    "group of bytes": lambda g: g.create_group(b"bytes"),
    "group of unicode": lambda g: g.create_group("grün"),
    "tracked group": lambda g: [
        g.create_group("t", track_order=True).create_group(n) for n in "zab"
    ],
    "require group": lambda g: [list(g.require_group(n)) for n in ("a/b", "new/er")],
    "require group over dataset": lambda g: g.require_group("x"),
    "require group over nested dataset": lambda g: g.require_group("a/b/y"),
    "create dataset": lambda g: g.create_dataset("n", data=[1, 2]),
    "create nested dataset": lambda g: g.create_dataset("n/m", data=[1, 2]),
    "create in existing": lambda g: g.create_dataset("a/b/z", data=[[1], [2]]),
    "create taken dataset": lambda g: g.create_dataset("x", data=1),
    "create taken nested dataset": lambda g: g.create_dataset("a/b/y", data=1),
    "create anonymous": lambda g: g.__setitem__("named", g.create_dataset(None, data=[1, 2])),
    "create nothing": lambda g: g.create_dataset("n"),
    "create wrong shape": lambda g: g.create_dataset("n", shape=(3,), data=[1, 2]),
    "reshaping": lambda g: g.create_dataset("n", shape=(2, 3), data=np.arange(6)),
    "only dtype": lambda g: g.create_dataset("n", dtype="f4"),
    "only shape": lambda g: g.create_dataset("n", (4, 5), "i2"),
    "int shape": lambda g: g.create_dataset("n", 4, "i2"),
    "scalar": lambda g: g.create_dataset("n", (), "i2"),
    "fill": lambda g: g.create_dataset("n", (4,), "i2", fillvalue=7),
    "wrong compression": lambda g: g.create_dataset("n", (4,), "i2", compression="nonsense"),
    "no chunks but compression": lambda g: g.create_dataset(
        "n", (4,), "i2", chunks=False, compression="gzip"
    ),
    "chunks of another rank": lambda g: g.create_dataset("n", (4, 4), "i2", chunks=(2,)),
    "unknown keyword": lambda g: g.create_dataset("n", (4,), "i2", nonsense=1),
    "empty": lambda g: g.create_dataset("n", data=h5py.Empty("f4")),
    "object without type": lambda g: g.create_dataset("n", data=np.array([{}, {}], object)),
    "dataset like": lambda g: g.create_dataset_like("n", g["x"], dtype="f4"),
    "require dataset": lambda g: (
        g.require_dataset("x", (10,), "i8")[()].tolist(),
        g.require_dataset("n", (3,), "i8").shape,
    ),
    "require another shape": lambda g: g.require_dataset("x", (11,), "i8"),
    "require another type": lambda g: g.require_dataset("x", (10,), "S3"),
    "require exactly": lambda g: g.require_dataset("x", (10,), "i4", exact=True),
    "require over group": lambda g: g.require_dataset("a", (10,), "i4"),
    "virtual": lambda g: g.create_virtual_dataset("n", h5py.VirtualLayout((4,), "i4"), fillvalue=3),
    "assign list": lambda g: g.__setitem__("n", [1, 2, 3]),
    "assign scalar": lambda g: g.__setitem__("n", 5),
    "assign text": lambda g: g.__setitem__("n", "äöü"),
    "assign texts": lambda g: g.__setitem__("n", ["a", "bc"]),
    "assign bytes": lambda g: g.__setitem__("n", np.array([b"a", b"bc"])),
    "assign nested": lambda g: g.__setitem__("n/m/o", [1]),
    "assign type": lambda g: g.__setitem__("n", np.dtype([("a", "i4"), ("b", "f8")])),
    "assign soft link": lambda g: g.__setitem__("n", h5py.SoftLink("a/b")),
    "assign external link": lambda g: g.__setitem__("n", h5py.ExternalLink("no.h5", "/x")),
    "assign hard link": lambda g: g.__setitem__("a/n", g["a/b"]),
    "assign object over existing": lambda g: g.__setitem__("x", g["a"]),
    "assign value over group": lambda g: g.__setitem__("a", 1),
    "assign unknown": lambda g: g.__setitem__("n", object()),
    "names": lambda g: (list(g), list(g.keys()), len(g), list(reversed(g)), "x" in g, "no" in g),
    "nested names": lambda g: ("a/b/y" in g, "a/b/n" in g, "a/soft" in g, "x/y" in g, "" in g),
    "values": lambda g: [shown(v) for v in g.values()],
    "items": lambda g: [(k, shown(v)) for k, v in g.items()],
    "get": lambda g: (shown(g.get("x")), g.get("no"), g.get("no", 3), shown(g.get("a/b/y"))),
    "get class": lambda g: [g.get(n, getclass=True) for n in ("x", "a", "a/soft", "no")],
    "get link": lambda g: [shown(g.get(n, getlink=True)) for n in ("x", "a", "a/soft", "a/b/y")],
    "get class of link": lambda g: [
        g.get(n, getlink=True, getclass=True) for n in ("x", "a/soft", "no")
    ],
    "soft link": lambda g: shown(g["a/soft"]),
    "dangling": lambda g: (g.__setitem__("d", h5py.SoftLink("nowhere")), "d" in g, g.get("d")),
    "open dangling": lambda g: (g.__setitem__("d", h5py.SoftLink("nowhere")), g["d"]),
    "through a soft link to a group": lambda g: (
        g.__setitem__("s", h5py.SoftLink("a/b")),
        shown(g["s/y"]),
        g["s"].attrs["unit"],
    ),
    "missing": lambda g: g["no"],
    "missing below": lambda g: g["a/no/b"],
    "below a dataset": lambda g: g["x/y"],
    "a number for a name": lambda g: g[3],
    "delete": lambda g: g.__delitem__("x"),
    "delete below": lambda g: g.__delitem__("a/b/y"),
    "delete loaded": lambda g: (shown(g["a/b/y"]), g.__delitem__("a")),
    "delete missing": lambda g: g.__delitem__("no"),
    "delete and make again": lambda g: (g.__delitem__("x"), g.__setitem__("x", [7])),
    "delete soft": lambda g: g["a"].__delitem__("soft"),
    "clear": lambda g: g["a"].clear(),
    "pop": lambda g: shown(g.pop("no", None)),
    "move": lambda g: g.move("x", "z"),
    "move below": lambda g: g.move("a/b/y", "q/r"),
    "move group": lambda g: g.move("a", "c/d"),
    "move soft": lambda g: g.move("a/soft", "a/softer"),
    "move missing": lambda g: g.move("no", "z"),
    "move onto": lambda g: g.move("x", "a"),
    "move onto itself": lambda g: g.move("x", "x"),
    "copy dataset": lambda g: g.copy("x", "z"),
    "copy object": lambda g: g.copy(g["x"], "z"),
    "copy below": lambda g: g.copy("a/b/y", "n/z"),
    "copy group": lambda g: g.copy("a", "c"),
    "copy into group": lambda g: g.copy("x", g["a"]),
    "copy object into group": lambda g: g.copy(g["a/b"], g, name="c"),
    "copy shallow": lambda g: g.copy("a", "c", shallow=True),
    "copy without attributes": lambda g: g.copy("a/b", "c", without_attrs=True),
    "copy expanding": lambda g: g.copy("a", "c", expand_soft=True),
    "copy missing": lambda g: g.copy("no", "c"),
    "copy onto": lambda g: g.copy("x", "a"),
    "copy changed": lambda g: (
        g["x"].__setitem__(3, -1),
        g.copy("x", "z"),
        g["z"].__setitem__(4, -2),
    ),
    "copy and change the first": lambda g: (g.copy("x", "z"), g["x"].__setitem__(4, -2)),
    "visit": lambda g: collect(g.visit),
    "visit a part": lambda g: collect(g["a"].visit),
    "visit links": lambda g: collect(g.visit_links),
    "visit and stop": lambda g: g.visit(lambda name: name if name.startswith("a/") else None),
    "visit items": tree,
    "visit links with items": lambda g: [(n, shown(o)) for n, o in pairs(g.visititems_links)],
    "attributes": lambda g: (
        g.attrs.__setitem__("a", [1, 2]),
        g["x"].attrs.__setitem__("b", "text"),
        g["a/b"].attrs.modify("unit", "cm"),
        g["a/b"].attrs.create("c", 5, dtype="f4"),
        sorted(g["a/b"].attrs),
    ),
    "delete attribute": lambda g: g["a/b"].attrs.__delitem__("unit"),
    "missing attribute": lambda g: g["a/b"].attrs["no"],
    "empty attribute": lambda g: g["x"].attrs.__setitem__("e", h5py.Empty("f8")),
    "names and parents": lambda g: (
        g["a/b/y"].name.removeprefix(g.name),
        g["a/b/y"].parent.name.removeprefix(g.name),
        g["a/b"].parent.parent == g,
        g["alias"] == g["x"],
        g["x"] == g["text"],
    ),
    "alias": lambda g: (
        g["x"].__setitem__(0, 99),
        g["alias"][0],
        g["alias"].attrs.__setitem__("q", 1),
    ),
    "resize an alias": lambda g: shown(g["alias"]),
    "references": lambda g: (
        g.__setitem__("r", np.array([g["x"].ref, g["a"].ref], h5py.ref_dtype)),
        [g[r] == g[n] for r, n in zip(g["r"][()], "xa", strict=True)],
        g["x"].attrs.__setitem__("to", g["a/b"].ref),
        g[g["x"].attrs["to"]] == g["a/b"],
    ),
    "null reference": lambda g: g[h5py.Reference()],
    "region reference": lambda g: g["x"][g["x"].regionref[2:5]].tolist(),
}


def collect(visit):
    found = []
    visit(found.append)
    return found


def pairs(visit):
    found = []
    visit(lambda *pair: found.append(pair))
    return found


def outcome(case, group):
    try:
        result = case(group)
    except Exception as error:  # noqa: BLE001 - whatever h5py raises
        return type(error)
    return shown(result)


@pytest.fixture
def plain(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        yield file.create_group("version")


@pytest.mark.filterwarnings("ignore::h5py.h5py_warnings.H5pyDeprecationWarning")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "new"])
@pytest.mark.parametrize("path", ["h5py"], indirect=True)
def test_as_h5py_does(case, committed, vf, plain, reopen):
    start(plain)
    if committed:
        with vf.stage_version("v1") as group:
            start(group)
    with vf.stage_version("v2") as group:
        if not committed:
            start(group)
        got, want = outcome(case, group), outcome(case, plain)
        assert got == want
        assert tree(group) == tree(plain)
    assert tree(vf["v2"]) == tree(plain)
    assert tree(reopen("r")["v2"]) == tree(plain)


def explicit(group):
    """A tree of which every storage is said."""
    group.create_dataset("x", data=np.arange(3000), chunks=(500,), maxshape=(None,))
    y = group.create_dataset(
        "t/y", data=np.ones((40, 50)), chunks=(10, 10), maxshape=(100, None), compression="gzip",
        shuffle=True, fletcher32=True, fillvalue=-1.0, track_order=True,
    )  # fmt: skip
    y.attrs["z"] = 1
    y.attrs["a"] = 2
    group.create_dataset("sparse", (5000, 5000), "i4", chunks=(100, 100), maxshape=(None, None))
    group["sparse"][2500, 2500] = 5
    group.create_dataset("null", data=h5py.Empty("i4"))
    group.create_dataset("strings", data=["a", "bc"] * 40, dtype=h5py.string_dtype(), chunks=(16,),
                         maxshape=(None,))  # fmt: skip
    group["scalar"] = 5
    tracked = group.create_group("ordered", track_order=True)
    for name in "zyxabc":
        tracked.create_group(name)
    group["soft"] = h5py.SoftLink("t/y")
    group["external"] = h5py.ExternalLink("other.h5", "/there")
    group["type"] = np.dtype([("a", "i4")])
    group["hard"] = group["t"]
    group["r"] = np.array([group["x"].ref, group["t"].ref], h5py.ref_dtype).reshape(2)
    group["x"].dims[0].label = "time"
    group["scalar"].attrs["to"] = group["strings"].ref


def change(group):
    group["t/y"][3, 4] = 7
    group["ordered/z"].attrs["changed"] = 1
    group["sparse"].resize((10, 10))
    del group["scalar"].attrs["to"]  # its target is the first version's too, and has two names


@pytest.mark.parametrize("path", ["h5py"], indirect=True)
def test_a_version_is_what_h5py_would_have_made(vf, plain, reopen):
    explicit(plain)
    del plain["r"]
    with vf.stage_version("v1") as group:
        explicit(group)
        del group["r"]
    with vf.stage_version("v2") as group:
        change(group)
    vf = reopen("r")
    own = ("prev_version", "committed", "timestamp", "sequence")
    assert differences(plain, vf["v1"], but_root_attributes=own) == []
    change(plain)
    assert differences(plain, vf["v2"], but_root_attributes=own) == []


def test_names_that_lead_out_of_the_version_are_refused(vf):
    with vf.stage_version("v1") as group:
        group["a/x"] = [1]
        for change in (
            lambda: group.create_group("/b"),
            lambda: group.create_dataset("/b", data=1),
            lambda: group.__setitem__("/b", 1),
            lambda: group.__delitem__("/_version_data"),
            lambda: group.move("a", "/b"),
            lambda: group.copy("a", "/b"),
        ):
            with pytest.raises(ValueError, match="version"):
                change()
        assert group[group["a/x"].name][0] == 1
        group[f"{group.name}/b"] = 2
        assert group["b"][()] == 2


def test_values_assigned_to_a_dataset_replace_its_values(vf):
    with vf.stage_version("v1") as group:
        group.create_dataset("x", data=np.arange(100), chunks=(10,), compression="gzip")
        group["x"].attrs["unit"] = "mm"
    with vf.stage_version("v2") as group:
        group["x"] = np.arange(150)
    with vf.stage_version("v3") as group:
        group["x"] = np.arange(5.5)
    assert vf["v1"]["x"][()].tolist() == list(range(100))
    second = vf["v2"]["x"]
    assert second[()].tolist() == list(range(150))
    assert (second.chunks, second.compression, second.attrs["unit"]) == ((10,), "gzip", "mm")
    assert vf["v3"]["x"][()].tolist() == [0, 1, 2, 3, 4, 5]
    assert vf["v3"]["x"].dtype == "f8"
    assert vf["v3"]["x"].attrs["unit"] == "mm"


def test_objects_of_other_versions_can_be_linked_and_copied(vf):
    with vf.stage_version("v1") as group:
        group["g/x"] = np.arange(10_000)
    with vf.stage_version("v2") as group:
        del group["g"]
    with vf.stage_version("v3") as group:
        group["again"] = vf["v1"]["g/x"]
        group.copy(vf["v1"]["g"], "h")
        group["h/x"][0] = -1
    last = vf["v3"]
    assert last["again"] == vf["v1"]["g/x"]
    assert last["h/x"][:3].tolist() == [-1, 1, 2]
    assert vf["v1"]["g/x"][0] == 0


def test_objects_of_other_files_can_be_copied(vf, plain):
    explicit(plain)
    with vf.stage_version("v1") as group:
        group.copy(plain["x"], "x")
        group.copy(plain["t"], "t")
        with pytest.raises(OSError, match="link"):
            group["linked"] = plain["x"]
    assert vf["v1"]["x"][()].tolist() == list(range(3000))
    assert vf["v1"]["t/y"].compression == "gzip"
    assert vf["v1"]["t/y"][()].sum() == 2000


def test_a_change_shows_under_every_name_also_when_the_one_used_is_deleted(vf):
    with vf.stage_version("a") as group:
        group.create_dataset("here", data=np.zeros(4), chunks=(4,))
        group["far/away/there"] = group["here"]
        group["one/below/x"] = np.arange(3)
        group["other"] = group["one"]
    with vf.stage_version("b") as group:
        group["here"][0] = 1
        del group["here"]
        group["one/below/x"][0] = 9
        group["one"].attrs["unit"] = "m"
        del group["one"]
    assert vf["b"]["far/away/there"][()].tolist() == [1, 0, 0, 0]
    assert vf["b"]["other/below/x"][()].tolist() == [9, 1, 2]
    assert dict(vf["b"]["other"].attrs) == {"unit": "m"}
    assert vf["a"]["here"][0] == 0


@pytest.mark.parametrize("size", [10, 10_000])
def test_what_is_staged_is_copied_to_another_file_with_its_values(vf, tmp_path, size):
    with vf.stage_version("a") as group:
        group["g/x"] = np.arange(size)
    with (
        h5py.File(tmp_path / "other.h5", "w") as other,
        vf.stage_version("b") as group,
    ):
        group["g/y"] = np.arange(size) + 1.0
        group.copy("g", other)
        group["g/x"][0] = 7
        group.copy("g/x", other, "x")
        assert other["g/x"][()].tolist() == list(range(size))
        assert other["g/y"][()].tolist() == list(range(1, size + 1))
        assert other["x"][:2].tolist() == [7, 1]
    assert vf["b"]["g/x"][:2].tolist() == [7, 1]
    assert vf["b"]["g/y"][()].tolist() == list(range(1, size + 1))


@pytest.mark.parametrize("size", [3, 100, 5000])
def test_new_values_may_be_changed_resized_and_copied_before_they_are_committed(vf, size):
    data = np.arange(5000.0)
    expected = np.zeros(size)
    expected[: min(size, 5000)] = data[:size]
    with vf.stage_version("a") as group:
        group["x"] = data
        data[:] = -1  # it is a copy
        assert group["x"][4999] == 4999
        group.copy("x", "whole")
        group["x"].resize((size,))
        group["x"][1] = 5
        expected[1] = 5
        group.copy("x", "again")
    for name in ("x", "again"):
        assert vf["a"][name][()].tolist() == expected.tolist()
    assert vf["a"]["whole"][()].tolist() == list(range(5000))
