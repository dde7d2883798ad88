"""A source that changes, and what must be true of every version of it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - h5py needs it to read what the corpus compresses

from tests.support.compare import differences
from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions, CaptureResult
from vh5d.capture.restore import restore
from vh5d.store.layout import RESERVED_ATTRIBUTES, VERSIONS

DEFAULTS = CaptureOptions()


def sha256(path: Path) -> str:
    """Return the digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class History:
    """A source, its store, and a copy of each state that became a version."""

    directory: Path
    options: CaptureOptions = DEFAULTS
    copies: dict[str, Path] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.directory / "source.h5"

    @property
    def store(self) -> Path:
        return self.directory / "store.h5"

    def edit(self, change: Callable[[h5py.File], object]) -> CaptureResult:
        """Change the source by h5py, then capture it."""
        with h5py.File(self.source, "a") as file:
            change(file)
        return self.capture()

    def capture(self) -> CaptureResult:
        """Capture the source as it is."""
        result = capture(self.source, self.store, options=self.options)
        if result.version is not None:
            copy = self.directory / f"{result.version}.copy"
            shutil.copyfile(self.source, copy)
            self.copies[result.version] = copy
        return result

    def check(self) -> None:
        """Every version comes back byte for byte, or its content does; its tree is the source's."""
        for version, copy in self.copies.items():
            target = self.directory / f"{version}.restored"
            if restore(self.store, version, target, overwrite=True).exact:
                assert sha256(target) == sha256(copy), version
            else:
                assert content_differences(copy, target) == [], version
            assert tree_differences(copy, self.store, version) == [], version


def content_differences(source: Path, other: Path) -> list[str]:
    """Return what differs between two files but for how their values are stored."""
    with h5py.File(source, "r", locking=False) as a, h5py.File(other, "r") as b:
        return differences(a["/"], b["/"], storage=False)


def tree_differences(source: Path, store: Path, version: str) -> list[str]:
    """Return what differs between a source and a version's tree, both by plain h5py."""
    with h5py.File(source, "r", locking=False) as a, h5py.File(store, "r") as b:
        return differences(
            a["/"],
            b[VERSIONS][version],
            but_root_attributes=RESERVED_ATTRIBUTES,
            storage=False,
        )
