from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  the corpus has data that went through bitshuffle and LZ4
import numpy as np
import pytest
from h5py import h5d, h5o, h5p, h5s, h5t

from tests.support.compare import differences
from tests.support.corpus import corpus_parameters
from tests.support.rebuild import rebuild
from vh5d.hdf5 import native

KNOWN_DAMAGE = {
    # h5py cannot read them either: HDF5 2.0 finds their global heaps too small.
    "globalheaps_test.hdf5",
    "var-length-strings-reused.hdf5",
}


@pytest.fixture
def target(tmp_path):
    with h5py.File(tmp_path / "target.h5", "w", libver=("v110", "v110")) as f:
        f.create_group("elsewhere/deep")
        yield f


def copy_of(source: h5py.File, target: h5py.File) -> h5py.Group:
    group, warnings = rebuild(source, target, "version")
    assert warnings == []
    return group


@pytest.mark.parametrize("path", corpus_parameters())
def test_every_file_of_the_corpus_comes_back_the_same(path, target):
    try:
        source = h5py.File(path, "r", locking=False)
    except OSError as error:
        pytest.skip(f"h5py cannot open it: {error}")
    with source:
        group, warnings = rebuild(source, target, "version")
        if path.name in KNOWN_DAMAGE:
            assert warnings
            return
        assert warnings == []
        assert differences(source, group) == []


def test_references_lead_to_the_copies(tmp_path, target):
    with h5py.File(tmp_path / "source.h5", "w") as f:
        data = f.create_dataset("group/data", data=np.arange(20).reshape(4, 5))
        kind = np.dtype([("to", h5py.ref_dtype), ("part", h5py.regionref_dtype), ("n", "i4")])
        mixed = f.create_dataset("mixed", (3,), kind)
        mixed[0] = (data.ref, data.regionref[1:3, ::2], 7)
        mixed[1] = (f["group"].ref, None, 8)
        many = f.create_dataset("many", (1000,), h5py.ref_dtype, chunks=(10,))
        many[5:995] = [data.ref] * 990
        ragged = f.create_dataset("ragged", (2,), h5py.vlen_dtype(h5py.ref_dtype))
        ragged[0] = np.array([data.ref, f.ref, many.ref], dtype=h5py.ref_dtype)
        regions = [data.regionref[0], data.regionref[...]]
        f.attrs["regions"] = np.array(regions, h5py.regionref_dtype)
        f.attrs["self"] = f.ref
        copy = copy_of(f, target)
        assert differences(f, copy) == []
        assert target[copy["many"][5]] == copy["group/data"]
        assert copy["mixed"]["part"][0]
        region = copy["mixed"][0]["part"]
        assert copy["group/data"][region].tolist() == data[1:3, ::2].tolist()


def test_a_reference_to_what_is_not_kept_becomes_null_and_is_told(tmp_path, target):
    with h5py.File(tmp_path / "source.h5", "w") as f:
        f["gone"] = 1
        f.attrs["to"] = f["gone"].ref
        f["refs"] = np.array([f["gone"].ref, f.ref], dtype=h5py.ref_dtype)
        del f["gone"]
        group, warnings = rebuild(f, target, "version")
        assert warnings == [
            "/: attribute to: 1 references point at nothing that is kept",
            "/refs: 1 references point at nothing that is kept",
        ]
        assert not group.attrs["to"]
        assert [bool(r) for r in group["refs"][:]] == [False, True]


def test_a_chunked_dataset_of_references_that_was_hardly_written_is_quickly_rewritten(
    tmp_path, target
):
    with h5py.File(tmp_path / "source.h5", "w") as f:
        refs = f.create_dataset("refs", (10**12,), h5py.ref_dtype, chunks=(100,))
        refs[10**11] = f.ref
        copy = copy_of(f, target)
        assert target[copy["refs"][10**11]] == copy


def test_links_are_kept_byte_for_byte(tmp_path, target):
    with h5py.File(tmp_path / "source.h5", "w") as f:
        f["data"] = 1
        f["soft"] = h5py.SoftLink("/no/such/é")
        f["external"] = h5py.ExternalLink("no such file.h5", "/x")
        f["again"] = f["data"]
        f.create_group("cycle")["up"] = f["/"]
        f.id.links.create_soft(b"latin \xe9", b"raw \xff", lcpl=h5p.create(h5p.LINK_CREATE))
        assert differences(f, copy_of(f, target)) == []


def test_the_definition_of_virtual_and_external_data_is_kept_and_nothing_opened(tmp_path, target):
    real = tmp_path / "real.h5"
    with h5py.File(real, "w") as f:
        f.create_dataset("x", data=np.arange(50), maxshape=(None,), chunks=(10,))
    with h5py.File(tmp_path / "source.h5", "w") as f:
        layout = h5py.VirtualLayout((10,), "i8", maxshape=(None,))
        part = h5py.VirtualSource(real, "x", (10,), "i8", maxshape=(None,))
        layout[: h5s.UNLIMITED] = part[: h5s.UNLIMITED]
        f.create_virtual_dataset("virtual", layout, fillvalue=-1)
        f.create_dataset("external", (4,), "i4", external=[("no/such/file.raw", 0, 16)])
        f["virtual"].attrs["units"] = "mm"
    real.rename(tmp_path / "moved away.h5")
    (tmp_path / "real.h5").mkdir()  # to open it would be an error
    with h5py.File(tmp_path / "source.h5", "r") as f:
        copy = copy_of(f, target)
        assert differences(f, copy) == []
        assert copy["virtual"].attrs["units"] == "mm"
        assert copy["external"].external == [("no/such/file.raw", 0, 16)]


def test_every_other_kind_of_object_is_kept(tmp_path, target):
    with h5py.File(tmp_path / "source.h5", "w", track_order=True) as f:
        f["type"] = np.dtype([("a", ">i2"), ("b", "S3", (2,))])
        f["type"].attrs["about"] = "a type"
        f.create_dataset("typed", (5,), f["type"]).attrs["x"] = 1
        f.create_dataset("null", dtype="f4", data=h5py.Empty("f4"))
        f.create_dataset("scalar", data=np.float32(3))
        f.create_dataset("nothing", (0, 4), "i4", maxshape=(None, 4))
        f.create_dataset("strings", data=["a", "", "ünï"], chunks=(2,), maxshape=(None,))
        f.create_dataset("unwritten", (10, 10), "f8")
        dcpl = h5p.create(h5p.DATASET_CREATE)
        dcpl.set_layout(h5d.COMPACT)
        space = h5s.create_simple((4,))
        h5d.create(f.id, b"compact", h5t.STD_I16BE, space, dcpl).write(
            h5s.ALL, h5s.ALL, np.arange(4, dtype=">i2")
        )
        h5o.set_comment(f["scalar"].id, b"a comment")
        h5o.set_comment(f.create_group("z").id, b"another")
        f.create_group("a").attrs["last"] = 1
        copy = copy_of(f, target)
        assert differences(f, copy) == []
        assert native.comment_of(copy["scalar"].id) == b"a comment"
        assert native.comment_of(copy["z"].id) == b"another"


def test_large_groups_with_links_in_a_heap_are_kept(tmp_path, target):
    with h5py.File(tmp_path / "source.h5", "w", libver="latest") as f:
        group = f.create_group("many", track_order=True)
        for i in reversed(range(500)):
            group.create_group(f"child {i}")
        assert differences(f, copy_of(f, target)) == []


def test_netcdf_reads_variables_and_dimensions_of_a_copy(tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    source, copy = tmp_path / "source.nc", tmp_path / "copy.nc"
    with netcdf.Dataset(source, "w") as d:
        d.createDimension("time", None)
        d.createDimension("x", 3)
        d.createVariable("x", "f4", ("x",))[:] = [1, 2, 3]
        t = d.createGroup("inner").createVariable("t", "f8", ("time", "x"), zlib=True)
        t[:] = np.arange(6).reshape(2, 3)
        t.units = "K"
        d.title = "é"
    with h5py.File(source, "r") as f, h5py.File(copy, "w", libver=("v110", "v110")) as g:
        version = copy_of(f, g)
        assert differences(f, version) == []
    with netcdf.Dataset(copy) as d:
        version = d["version"]
        assert version.title == "é"
        assert set(version.dimensions) == {"time", "x"}
        variable = version["inner/t"]
        assert variable.dimensions == ("time", "x")
        assert variable[:].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_nexus_files_keep_their_links_and_classes(tmp_path, target):
    nexus = pytest.importorskip("nexusformat.nexus")
    path = tmp_path / "source.nxs"
    data = nexus.NXdata(
        nexus.NXfield(np.arange(12.0).reshape(3, 4), name="z"),
        (nexus.NXfield(np.arange(3), name="y"), nexus.NXfield(np.arange(4), name="x")),
    )
    root = nexus.NXroot(nexus.NXentry(data))
    root["entry/detector"] = nexus.NXdetector()
    root["entry/detector/z"] = nexus.NXlink(target="/entry/data/z")
    root.save(str(path))
    with h5py.File(path, "r") as f:
        copy = copy_of(f, target)
        assert differences(f, copy) == []
        assert copy["entry/detector/z"] == copy["entry/data/z"]


def test_a_file_with_a_userblock_keeps_its_references(tmp_path, target):
    with h5py.File(tmp_path / "source.h5", "w", userblock_size=1024) as f:
        f["x"] = np.arange(3)
        f.attrs["to"] = f["x"].ref
        f.attrs["part"] = f["x"].regionref[1:]
        assert differences(f, copy_of(f, target)) == []


def test_a_python_file_driver_serves_as_well_as_a_path(tmp_path, target):
    path: Path = tmp_path / "source.h5"
    with h5py.File(path, "w") as f:
        f["strings"] = ["a", "b"]
        f.attrs["ref"] = f["strings"].ref
    with path.open("rb") as raw, h5py.File(raw, "r") as f:
        assert differences(f, copy_of(f, target)) == []
