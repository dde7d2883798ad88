"""A source whose bytes change, and nothing that HDF5 finds in it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.support.history import History
from vh5d.capture.options import CaptureOptions
from vh5d.store.layout import VERSIONS


def leave_a_gap(path):
    """Delete a dataset: its bytes stay in the file, and nothing leads to them."""
    with h5py.File(path, "w") as file:
        file["gone"] = np.full(500, 0x5A, np.uint8)
        file["data"] = np.arange(5000)
        gap = file["gone"].id.get_offset()
        del file["gone"]
    return gap


def scribble(path, offset):
    with path.open("r+b") as file:
        file.seek(offset + 100)
        file.write(b"other bytes")


@pytest.fixture
def history(tmp_path):
    return History(tmp_path)


def test_bytes_count_as_a_version_that_shares_every_object(history):
    gap = leave_a_gap(history.source)
    assert history.capture().version == "v1"
    scribble(history.source, gap)
    assert history.capture().version == "v2"
    history.check()
    with h5py.File(history.store) as file:
        one, two = (file[f"{VERSIONS}/{name}/data"] for name in ("v1", "v2"))
        assert one == two


def test_bytes_do_not_count_when_content_is_what_matters(tmp_path):
    history = History(tmp_path, options=CaptureOptions(significant="content"))
    gap = leave_a_gap(history.source)
    assert history.capture().version == "v1"
    scribble(history.source, gap)
    assert history.capture().version is None
