"""Datasets whose headers and indexes we write, read by h5py and by HDF5's own tools."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess

import h5py
import hdf5plugin
import numpy as np
import pytest
from h5py import h5d, h5o, h5p, h5s, h5t, h5z
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.chunk_index import walk
from tests.support.shared_dataset import chunks_of, format_of, place, reader, share
from vh5d.errors import StoreDamagedError
from vh5d.hdf5.address import address_of, link, open_by_address
from vh5d.hdf5.block_image import UNDEFINED, BlockImage
from vh5d.hdf5.checksum import checksum
from vh5d.hdf5.chunk_index import ChunkRecords, IndexFormat, build, update
from vh5d.hdf5.filter_pipeline import filters_of, settled
from vh5d.hdf5.header_messages import (
    CONTINUATION,
    DATATYPE,
    FILTERS,
    LAYOUT,
    Message,
    ObjectHeader,
    compose_header,
    parse_header,
)
from vh5d.hdf5.object_header import add_dataset_header, chunk_index_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


def check_with_tools(path, one: str, other: str) -> None:
    """Ask HDF5 1.10's own tools, which share no code with the HDF5 in h5py's wheel."""
    if shutil.which("h5diff") is None or shutil.which("h5dump") is None:
        reason = "HDF5's tools (Debian: hdf5-tools) are not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    for command in (["h5diff", path, path, one, other], ["h5dump", "-p", "-d", other, path]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])


DTYPES = {
    "int": np.dtype(">i2"),
    "float": np.dtype("<f8"),
    "compound": np.dtype([("a", "<i4"), ("b", "<f8", (2, 3)), ("name", "S5")]),
    "array": np.dtype(("<i2", (3,))),
    "enum": h5py.enum_dtype({"red": 1, "green": 2}, basetype="u1"),
    "bool": np.dtype(bool),
    "opaque": h5py.opaque_dtype(np.dtype("M8[us]")),
    "void": np.dtype("V7"),
    "string": h5py.string_dtype("utf-8", 9),
    "complex": np.dtype("c16"),
    "half": np.dtype("f2"),
}


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("libver", [None, "latest"])
def test_every_element_type(path, name, libver):
    dtype = DTYPES[name]
    with h5py.File(path, "w", libver=libver) as file:
        source = file.create_dataset("source", (50,), dtype, chunks=(7,), maxshape=(None,))
        raw = np.random.default_rng(3).integers(0, 2, 56 * source.id.get_type().get_size(), "u1")
        size = len(raw) // 8
        for i in range(8):
            source.id.write_direct_chunk((7 * i,), raw[i * size : (i + 1) * size].tobytes())
        shared = share(file, "shared", source)
        assert shared.id.get_type().equal(source.id.get_type())
        assert shared.dtype == source.dtype
        assert h5py.check_enum_dtype(shared.dtype) == h5py.check_enum_dtype(source.dtype)
    with h5py.File(path) as file:
        shared = file["shared"]
        assert shared[()].tobytes() == file["source"][()].tobytes()
        # HDF5 2.0 writes later type messages where it may; the shared dataset has none.
        header = parse_header(reader(file), address_of(shared.id))
        assert header.find(DATATYPE).body[0] >> 4 <= 3
    if libver is None:  # else the tools may not understand the source
        check_with_tools(path, "/source", "/shared")


def test_a_bitfield(path):
    with h5py.File(path, "w") as file:
        dcpl = h5p.create(h5p.DATASET_CREATE)
        dcpl.set_chunk((4,))
        args = h5t.STD_B16BE, h5s.create_simple((10,)), dcpl
        source = h5py.Dataset(h5d.create(file.id, b"source", *args))
        source.id.write_direct_chunk((4,), bytes(range(8)))
        shared = share(file, "shared", source)
        assert shared.id.get_type().equal(h5t.STD_B16BE)
    check_with_tools(path, "/source", "/shared")


def test_a_committed_type_is_copied(path):
    with h5py.File(path, "w") as file:
        file["type"] = np.dtype([("x", "i4"), ("y", "f4")])
        source = file.create_dataset("source", (5,), file["type"], chunks=(2,))
        assert source.id.get_type().committed()
        shared = share(file, "shared", source)
        assert not shared.id.get_type().committed()
        assert shared.dtype == source.dtype


@st.composite
def grids(draw):
    ndim = draw(st.integers(1, 5))
    shape = tuple(draw(st.integers(1, 40 if ndim < 3 else 9)) for _ in range(ndim))
    chunks = tuple(draw(st.integers(1, size)) for size in shape)
    maxshape = tuple(draw(st.sampled_from([None, size, size + 5])) for size in shape)
    return shape, chunks, maxshape


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(grids(), st.booleans(), st.integers(0, 99), st.floats(0, 1))
def test_any_grid_with_holes(tmp_path, grid, filtered, seed, density):
    shape, chunks, maxshape = grid
    path = tmp_path / "grid.h5"
    rng = np.random.default_rng(seed)
    options = {"shuffle": True, "compression": "gzip"} if filtered else {}
    with h5py.File(path, "w") as file:
        source = file.create_dataset(
            "source", shape, "<u4", chunks=chunks, maxshape=maxshape, fillvalue=7, **options
        )
        source[...] = rng.integers(0, 2**32, shape, np.uint32)
        records = chunks_of(source)
        kept = rng.random(len(records)) <= density
        expected = np.full(shape, 7, np.uint32)
        for place_ in records.scaled[kept].astype(int):
            block = tuple(slice(i * c, (i + 1) * c) for i, c in zip(place_, chunks, strict=True))
            expected[block] = source[block]
        shared = share(file, "shared", source, records.take(kept))
        index, fmt = chunk_index_of(reader(file), address_of(shared.id))
        tree = walk(reader(file), index, len(shape), fmt.chunk_nbytes)
        assert len(tree.records) == kept.sum()
    with h5py.File(path) as file:
        shared = file["shared"]
        assert np.array_equal(shared[...], expected)
        assert (shared.shape, shared.chunks, shared.maxshape) == (shape, chunks, maxshape)
        assert shared.id.get_num_chunks() == kept.sum()
        found = chunks_of(shared)
        assert np.array_equal(found.addresses, records.addresses[kept])
        assert np.array_equal(found.sizes, records.sizes[kept])


def test_versions_that_share_nodes_read_at_once(path):
    n, c = 3000, 16
    rng = np.random.default_rng(0)
    expected = []
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", data=np.arange(n * c), chunks=(c,), maxshape=(None,))
        spare = file.create_dataset("spare", data=-np.arange(200 * c), chunks=(c,))
        new = chunks_of(spare)
        file["v0"] = source
        index, fmt, values = UNDEFINED, format_of(source, n), source[:]
        for version in range(20):
            image = BlockImage()
            if version == 0:
                index = build(chunks_of(source), fmt, image)
            else:
                places = np.sort(rng.choice(n, 3, replace=False)).astype(np.uint64)
                few = slice(3 * version, 3 * version + 3)
                puts = ChunkRecords(
                    places[:, np.newaxis], new.addresses[few], new.sizes[few], new.masks[few]
                )
                none = np.empty((0, 1), np.uint64)
                index, fmt = update(reader(file, image), index, fmt, puts, none, image)
                values = values.copy()
                values.reshape(n, c)[places.astype(int)] = spare[:].reshape(-1, c)[few]
            staged = add_dataset_header(
                image,
                type_id=source.id.get_type(),
                space=source.id.get_space(),
                dcpl=source.id.get_create_plist(),
                index=index,
                fmt=fmt,
            )
            base = place(file, image)
            index = image.resolve(index, base)
            expected.append(values)
            opened = open_by_address(file.id, image.resolve(staged, base))
            link(opened, file.id, b"version%d" % version)
    for mode in ("r", "r+"):
        with h5py.File(path, mode) as file:
            opened = [file[f"version{i}"] for i in range(20)]
            for i in rng.integers(0, 20, 400):
                at = int(rng.integers(0, n * c))
                assert opened[i][at] == expected[i][at]
            for dataset, values in zip(opened, expected, strict=True):
                assert np.array_equal(dataset[:], values)
    check_with_tools(path, "/version7", "/version7")


def test_resized_shapes(path):
    with h5py.File(path, "w") as file:
        data = np.arange(40 * 30).reshape(40, 30)
        source = file.create_dataset("source", data=data, chunks=(8, 8), maxshape=(None, None))
        for shape in ((40, 30), (33, 17), (64, 30), (1, 1), (0, 5)):
            records = chunks_of(source)
            inside = (records.scaled * 8 < np.array(shape, np.uint64)).all(axis=1)
            space = h5s.create_simple(shape, (h5s.UNLIMITED,) * 2)
            name = "x".join(map(str, shape))
            shared = share(file, name, source, records.take(inside), space=space)
            grown = np.zeros(shape, data.dtype)
            part = data[: shape[0], : shape[1]]
            grown[: part.shape[0], : part.shape[1]] = part
            assert np.array_equal(shared[...], grown)
            assert shared.maxshape == (None, None)


def test_chunks_of_other_order_are_other_data(path):
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", data=np.arange(20), chunks=(5,))
        records = chunks_of(source)
        turned = ChunkRecords(records.scaled, records.addresses[::-1], records.sizes, records.masks)
        shared = share(file, "turned", source, turned)
        assert shared[:].reshape(4, 5).tolist() == source[:].reshape(4, 5)[::-1].tolist()


def test_filter_masks(path):
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", (8,), "<i4", chunks=(4,), compression="gzip")
        source[:4] = [1, 2, 3, 4]
        source.id.write_direct_chunk((4,), np.arange(4, dtype="<i4").tobytes(), filter_mask=1)
        shared = share(file, "shared", source)
        assert chunks_of(shared).masks.tolist() == [0, 1]
        assert shared[:].tolist() == [1, 2, 3, 4, 0, 1, 2, 3]
    check_with_tools(path, "/source", "/shared")


def test_a_chunk_that_filters_made_larger(path):
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", (1,), "u1", chunks=(1,), compression="gzip")
        source[0] = 200
        assert chunks_of(source).sizes[0] > 1
        assert share(file, "shared", source)[0] == 200


FILTER_OPTIONS = {
    "gzip": {"compression": "gzip", "compression_opts": 3, "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "scaleoffset": {"scaleoffset": 0},
    "lzf": {"compression": "lzf"},
    "zstd": dict(hdf5plugin.Zstd(clevel=3)),
    "blosc": dict(hdf5plugin.Blosc()),
    "bitshuffle": dict(hdf5plugin.Bitshuffle()),
}


@pytest.mark.parametrize("name", FILTER_OPTIONS)
def test_filters_keep_names_flags_and_parameters(path, name):
    with h5py.File(path, "w") as file:
        data = np.arange(100, dtype="<i4")
        source = file.create_dataset("source", data=data, chunks=(30,), **FILTER_OPTIONS[name])
        shared = share(file, "shared", source)
        assert filters_of(shared.id.get_create_plist()) == filters_of(source.id.get_create_plist())
        assert np.array_equal(shared[:], data)


@pytest.mark.parametrize("name", FILTER_OPTIONS)
def test_the_pipeline_message_is_hdf5s_own(path, name):
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        source = file.create_dataset("source", (50,), "<i4", chunks=(30,), **FILTER_OPTIONS[name])
        file.flush()
        shared = share(file, "shared", source)
        own, ours = (
            parse_header(reader(file), address_of(each.id)).find(FILTERS)
            for each in (source, shared)
        )
        assert ours.body == own.body


def test_a_filter_whose_plugin_is_missing(path):
    missing = 32_099
    assert not h5z.filter_avail(missing)
    with h5py.File(path, "w") as file:
        dcpl = h5p.create(h5p.DATASET_CREATE)
        dcpl.set_chunk((4,))
        dcpl.set_filter(missing, h5z.FLAG_OPTIONAL, (9, 2**32 - 1))
        fmt = IndexFormat.for_chunks(1, 16, filtered=True, n=2)
        pool = file.create_dataset("pool", data=np.arange(8, dtype="<i4"), chunks=(4,))
        found = chunks_of(pool)
        masks = np.array([1, 0], np.uint32)  # the first was stored without the filter
        image = BlockImage()
        index = build(ChunkRecords(found.scaled, found.addresses, found.sizes, masks), fmt, image)
        staged = add_dataset_header(
            image,
            type_id=h5t.STD_I32LE,
            space=h5s.create_simple((8,)),
            dcpl=dcpl,
            index=index,
            fmt=fmt,
        )
        address = image.resolve(staged, place(file, image))
        link(open_by_address(file.id, address), file.id, b"shared")
        shared = file["shared"]
        code, flags, values, _ = shared.id.get_create_plist().get_filter(0)
        assert (code, flags, values) == (missing, h5z.FLAG_OPTIONAL, (9, 2**32 - 1))
        assert shared[:4].tolist() == [0, 1, 2, 3]
        assert shared.id.read_direct_chunk((4,))[1] == pool[4:].tobytes()
        with pytest.raises(OSError, match=r"filter|read"):
            shared[4:]


def test_parameters_that_a_filter_takes_from_the_type():
    dcpl = h5p.create(h5p.DATASET_CREATE)
    dcpl.set_chunk((10,))
    dcpl.set_shuffle()
    dcpl.set_scaleoffset(h5z.SO_INT, 4)
    space = h5s.create_simple((100,))
    done = filters_of(settled(h5t.STD_I32LE, space, dcpl))
    assert done[0][2] == (4,)
    assert len(done[1][2]) == 20


def test_shuffle_and_gzip_of_a_list_that_was_never_used(path):
    with h5py.File(path, "w") as file:
        source = file.create_dataset(
            "source", data=np.arange(64, dtype="<i8"), chunks=(16,), **FILTER_OPTIONS["gzip"]
        )
        dcpl = h5p.create(h5p.DATASET_CREATE)
        dcpl.set_chunk((16,))
        dcpl.set_shuffle()
        dcpl.set_deflate(3)
        assert np.array_equal(share(file, "shared", source, dcpl=dcpl)[:], np.arange(64))


@pytest.mark.parametrize(
    "alloc_time", [h5d.ALLOC_TIME_EARLY, h5d.ALLOC_TIME_LATE, h5d.ALLOC_TIME_INCR]
)
def test_creation_properties_are_kept(path, alloc_time):
    with h5py.File(path, "w") as file:
        dcpl = h5p.create(h5p.DATASET_CREATE)
        dcpl.set_chunk((2,))
        dcpl.set_alloc_time(alloc_time)
        dcpl.set_fill_time(h5d.FILL_TIME_ALLOC)
        dcpl.set_fill_value(np.array(-3, "<i4"))
        dcpl.set_attr_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        dcpl.set_attr_phase_change(20, 10)
        dcpl.set_obj_track_times(True)
        args = h5t.STD_I32LE, h5s.create_simple((7,)), dcpl
        source = h5py.Dataset(h5d.create(file.id, b"source", *args))
        source[0] = 1
        shared = share(file, "shared", source, chunks_of(source).take(slice(0, 1)))
        assert shared[:].tolist() == [1, -3, -3, -3, -3, -3, -3]
        kept = shared.id.get_create_plist()
        assert kept.get_alloc_time() == alloc_time
        assert kept.get_fill_time() == h5d.FILL_TIME_ALLOC
        assert kept.get_attr_creation_order() == dcpl.get_attr_creation_order()
        assert kept.get_attr_phase_change() == (20, 10)
        assert not kept.get_obj_track_times()
        names = [f"z{9 - i}" for i in range(9)] + [f"a{i}" for i in range(20)]
        for i, name in enumerate(names):
            shared.attrs[name] = np.arange(i)
    with h5py.File(path) as file:
        assert {k: v.tolist() for k, v in file["shared"].attrs.items()} == {
            name: list(range(i)) for i, name in enumerate(names)
        }


def test_no_chunks_at_all(path):
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", (10,), "f4", chunks=(3,), fillvalue=2.5)
        shared = share(file, "shared", source, ChunkRecords.empty(1))
        index, _ = chunk_index_of(reader(file), address_of(shared.id))
        assert index == UNDEFINED
    size = path.stat().st_size
    with h5py.File(path, "r+") as file:
        assert file["shared"][:].tolist() == [2.5] * 10
        assert file["shared"].id.get_storage_size() == 0
    assert path.stat().st_size == size


def test_unfiltered_edge_chunks(path):
    # h5py cannot ask for it (H5Pset_chunk_opts), so set the layout message's flag by hand.
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        source = file.create_dataset("source", (6,), "<i4", chunks=(4,), compression="gzip")
        source[:4] = [1, 2, 3, 4]
        file.flush()
        at = address_of(source.id)
    data = bytearray(path.read_bytes())
    header = parse_header(lambda a, n: bytes(data[a : a + n]), at)
    layout = data.index(header.find(LAYOUT).body, at)
    data[layout + 2] |= 1
    start = 7 + (1 << (data[at + 5] & 3)) - 1 + (16 if data[at + 5] & 0x20 else 0)
    width = 1 << (data[at + 5] & 3)
    end = at + start + int.from_bytes(data[at + start - width : at + start], "little")
    data[end : end + 4] = checksum(data[at:end])
    path.write_bytes(data)
    with h5py.File(path, "r+") as file:
        source = file["source"]
        source[4:] = [5, 6]
        assert chunks_of(source).sizes[1] == 16, "HDF5 left the filter out"
        shared = share(file, "shared", source)
        assert shared[:].tolist() == [1, 2, 3, 4, 5, 6]
    check_with_tools(path, "/source", "/shared")


def test_large_chunk_dimensions(path):
    with h5py.File(path, "w") as file:
        chunks = (1, 70_000, 300)
        source = file.create_dataset("source", (2, 70_000, 300), "u1", chunks=chunks)
        source[1, 69_999, 299] = 9
        shared = share(file, "shared", source)
        assert shared.chunks == chunks
        assert shared[1, 69_999, 299] == 9
        assert shared[0, 0, 0] == 0
        assert len(chunks_of(shared)) == 1


def test_the_greatest_rank(path):
    with h5py.File(path, "w") as file:
        shape = (2,) * 4 + (1,) * 28
        source = file.create_dataset("source", shape, "i2", chunks=(1,) * 32, compression="gzip")
        source[...] = np.arange(16).reshape(shape)
        assert np.array_equal(share(file, "shared", source)[...].ravel(), np.arange(16))


def test_a_large_type_and_a_long_header(path):
    dtype = np.dtype([(f"a rather long field name, number {i}", "<f8") for i in range(700)])
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", (3,), dtype, chunks=(2,))
        source[0] = tuple(range(700))
        shared = share(file, "shared", source)
        assert shared[0].tolist() == tuple(range(700))


def test_the_link_count_stays_one_too_high(path):
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", data=np.arange(100), chunks=(10,))
        shared = share(file, "shared", source)
        assert h5o.get_info(shared.id).rc == 2
        file["again"] = shared
        assert h5o.get_info(shared.id).rc == 3
        share(file, "other", source)
    with h5py.File(path, "r+") as file:
        del file["shared"], file["again"]
        file["noise"] = np.full(10_000, -1)
    with h5py.File(path) as file:
        assert np.array_equal(file["other"][:], np.arange(100))


def header_blocks(file, dataset) -> set[int]:
    """Addresses of the blocks of a dataset's header."""
    file.flush()
    read, seen = reader(file), set()

    def listen(address, nbytes):
        seen.add(address)
        return read(address, nbytes)

    parse_header(listen, address_of(dataset.id))
    return seen


def test_linking_needs_no_further_room(path):
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        source = file.create_dataset("source", data=np.arange(100), chunks=(10,))
        shared = share(file, "shared", source, room=100)
        shared.attrs["units"] = "mm"
        assert len(header_blocks(file, shared)) == 1
        cramped = share(file, "cramped", source, room=0)
        assert len(header_blocks(file, cramped)) == 1
        file["wall"] = np.arange(3)  # or HDF5 makes the header longer where it is
        cramped.attrs["units"] = "mm"
        assert len(header_blocks(file, cramped)) == 2


def test_a_userblock(path):
    with h5py.File(path, "w", userblock_size=1024) as file:
        source = file.create_dataset("source", data=np.arange(50), chunks=(7,))
        assert np.array_equal(share(file, "shared", source)[:], np.arange(50))
    with h5py.File(path) as file:
        assert np.array_equal(file["shared"][:], np.arange(50))


def test_a_header_with_continuation_blocks(path):
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", data=np.arange(50), chunks=(7,))
        shared = share(file, "shared", source)
        before = chunk_index_of(reader(file), address_of(shared.id))
        file["wall"] = np.arange(3)  # or HDF5 makes the header longer where it is
        for i in range(7):
            shared.attrs[f"attribute {i}"] = np.arange(200 * i)
        file.flush()
        assert len(header_blocks(file, shared)) > 1
        assert chunk_index_of(reader(file), address_of(shared.id)) == before
        header = parse_header(reader(file), address_of(shared.id))
        assert sum(m.kind == 0x0C for m in header.messages) == 7


def test_headers_of_others_have_no_index_of_ours(path):
    with h5py.File(path, "w", libver="v110") as file:
        datasets = (
            file.create_dataset("contiguous", data=np.arange(3)),
            file.create_dataset("chunked", (5,), "f4", chunks=(2,)),
        )
        file.flush()
        for each in (*datasets, file):
            with pytest.raises(StoreDamagedError, match="no version-2 B-tree"):
                chunk_index_of(reader(file), address_of(each.id))
        with pytest.raises(StoreDamagedError, match="no version-2 object header"):
            chunk_index_of(reader(file), 0)


def test_any_flipped_byte_in_a_header_is_noticed(path):
    with h5py.File(path, "w") as file:
        shared = share(file, "shared", file.create_dataset("source", (5,), "f4", chunks=(2,)))
        at = address_of(shared.id)
    data = path.read_bytes()
    for offset in range(6, 90):
        torn = bytearray(data)
        torn[at + offset] ^= 0x04
        with pytest.raises(StoreDamagedError):
            chunk_index_of(lambda a, n, torn=torn: bytes(torn[a : a + n]), at)


@given(
    st.lists(st.tuples(st.integers(1, 15), st.binary(max_size=300), st.integers(0, 65_535))),
    st.booleans(),
)
def test_headers_composed_are_parsed_again(bodies, tracked):
    messages = tuple(
        Message(kind, 1, body, order if tracked else 0) for kind, body, order in bodies
    )
    flags = 0x04 if tracked else 0
    block, places = compose_header(flags, b"", messages)
    block = block[:-4] + checksum(block[:-4])
    assert parse_header(lambda a, n: block[a : a + n], 0) == ObjectHeader(flags | 2, b"", messages)
    for at, message in zip(places, messages, strict=True):
        assert block[at : at + len(message.body)] == message.body


@pytest.mark.parametrize(
    ("signature", "message"), [(b"OCHK", "never ends"), (b"OHDR", "no continuation")]
)
def test_a_continuation_that_leads_astray_is_refused(signature, message):
    block, _ = compose_header(0, b"", [Message(CONTINUATION, 0, struct.pack("<QQ", 100, 28))])
    block = block[:-4] + checksum(block[:-4])
    more = signature + struct.pack("<BHBQQ", CONTINUATION, 16, 0, 100, 28)
    data = block.ljust(100, b"\0") + more + checksum(more)
    with pytest.raises(StoreDamagedError, match=message):
        parse_header(lambda a, n: data[a : a + n], 0)


def test_wrong_requests_are_refused(path):
    with h5py.File(path, "w") as file:
        source = file.create_dataset("source", (5,), "i4", chunks=(2,))
        flat = file.create_dataset("flat", (5,), "i4")
        with pytest.raises(ValueError, match="only a chunked dataset"):
            share(file, "shared", source, dcpl=flat.id.get_create_plist())
        with pytest.raises(ValueError, match="does not fit the dataset's"):
            share(file, "shared", source, type_id=h5t.STD_I64LE)
    with pytest.raises(ValueError, match="too long"):
        compose_header(0, b"", [Message(1, 0, bytes(65_536))])
