"""Files of strangers: what they name is not opened, and what they ask for is not given."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.support.other_process import run
from vh5d.capture.capture import capture
from vh5d.capture.restore import restore

SECRET = b"root:x:0:0:the secret"

CONFINED = """
import resource, sys
from vh5d.service.capturing.limits import confine
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.errors import VH5DError
confine()
most = 4 << 30
resource.setrlimit(resource.RLIMIT_AS, (most, most))
resource.setrlimit(resource.RLIMIT_CPU, (40, 40))
for path in sys.argv[2:]:
    try:
        options = CaptureOptions(threads=1)
        print(capture(path, f"{sys.argv[1]}/{path.split('/')[-1]}", options=options).kept_as)
    except (VH5DError, MemoryError) as error:
        print(type(error).__name__)
"""


def raw_mappings(directory):
    """Files that say that their content is in another file."""
    secret = directory / "secret"
    secret.write_bytes(SECRET)
    with h5py.File(directory / "other.h5", "w") as file:
        file["inside"] = np.frombuffer(SECRET, "u1")
    with h5py.File(directory / "source.h5", "w") as file:
        shape = (len(SECRET),)
        file.create_dataset("external", shape, "u1", external=[(str(secret), 0, len(SECRET))])
        layout = h5py.VirtualLayout(shape, "u1")
        layout[:] = h5py.VirtualSource(str(directory / "other.h5"), "inside", shape)
        file.create_virtual_dataset("virtual", layout)
        file["link"] = h5py.ExternalLink(str(directory / "other.h5"), "/inside")
    return directory / "source.h5"


@pytest.mark.parametrize("significant", ["bytes", "content"])
def test_what_another_file_holds_does_not_come_into_a_store(tmp_path, significant):
    source, store = raw_mappings(tmp_path), tmp_path / "store.h5"
    code = """
import sys
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
print(capture(*sys.argv[1:3], options=CaptureOptions(significant=sys.argv[3])).kept_as)
"""
    assert run(code, source, store, significant) == "tree"
    assert SECRET not in store.read_bytes()
    restore(store, "v1", tmp_path / "restored.h5")
    assert (tmp_path / "restored.h5").read_bytes() == source.read_bytes()
    with h5py.File(source, "a") as file:
        file.attrs["changed"] = 1
    assert capture(source, store).version == "v2"
    assert SECRET not in store.read_bytes()


def test_hostile_sizes_do_not_exhaust_the_machine(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w", libver="latest") as file:
        file.create_dataset("sparse", (2**62,), "u1", chunks=(2**31,))
        file.create_dataset("text", (2**50,), h5py.string_dtype(), chunks=(2**20,))
        layout = h5py.VirtualLayout((2**60,), "u1")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("late", (2**55,), "f8", chunks=(2**27,), compression="gzip")
    with h5py.File(tmp_path / "small.h5", "w") as file:
        file.create_dataset("chunked", data=np.arange(64), chunks=(16,))
        file.attrs["numbers"] = np.arange(8)
        file["text"] = ["one", "two"]
    content = (tmp_path / "small.h5").read_bytes()
    paths = [tmp_path / "huge.h5"]
    words = [at for at in range(96, min(len(content), 4096), 8) if any(content[at : at + 8])]
    for number, at in enumerate(words[::3]):
        size = [2**31 - 1, 2**40, 2**62, 2**64 - 2][number % 4].to_bytes(8, "little")
        paths.append(tmp_path / f"hostile{at}.h5")
        paths[-1].write_bytes(content[:at] + size + content[at + 8 :])
    (tmp_path / "stores").mkdir()
    found = run(CONFINED, tmp_path / "stores", *paths).split()
    assert len(found) == len(paths), found
    assert set(found) <= {"tree", "bytes", "SourceChangedError", "MemoryError"}
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "stores").iterdir()) < 50e6


def test_a_confined_process_leaves_no_core_and_has_a_limit(tmp_path):
    code = """
import resource
from vh5d.service.capturing.limits import confine, memory
confine()
print(resource.getrlimit(resource.RLIMIT_CORE)[0], memory() > 0)
print(resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY)
"""
    assert run(code).split() == ["0", "True", "True"]


PLUGINS = """
import os, sys
os.environ["HDF5_PLUGIN_PATH"] = sys.argv[1]
import h5py
from h5py import h5pl
before = h5pl.size()
from vh5d.service.capturing.limits import confine
confine()
import hdf5plugin
with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
    file.create_dataset("x", data=range(100), chunks=(10,), **hdf5plugin.Zstd())
    print(before, h5pl.size(), int(file["x"][()].sum()))
"""


def test_no_plugin_is_loaded_and_registered_filters_still_work(tmp_path):
    before, after, total = run(PLUGINS, tmp_path).split()
    assert int(before) >= 1
    assert (after, total) == ("0", "4950")
