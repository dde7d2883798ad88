"""Datasets of a version."""

from __future__ import annotations

import posixpath
from typing import Any

import h5py
from numpy.typing import NDArray

from vh5d.versioned.array import StagedArray
from vh5d.versioned.dimensions import Dimensions
from vh5d.versioned.indexing import plain
from vh5d.versioned.member import Member
from vh5d.versioned.stage import Stage


class InMemoryArrayDataset(Member, h5py.Dataset):  # type: ignore[misc]
    """A dataset of a version: h5py's, but for where its values come from and go to.

    Parameters
    ----------
    bind
        h5py's DatasetID, in the draft or in the store.
    stage
        The version being staged; None when it is committed.
    top
        The version's group.
    """

    def __init__(self, bind: Any, stage: Stage | None, top: Any) -> None:
        super().__init__(bind, readonly=stage is None)
        self._begin(stage, top)

    def __repr__(self) -> str:
        if not self.id:
            return f"<Closed {type(self).__name__}>"
        name = posixpath.basename(posixpath.normpath(self.name)) if self.name else "(anonymous)"
        return f'<{type(self).__name__} "{name}": shape {self.shape}, type "{self.dtype.str}">'

    @property
    def dims(self) -> Dimensions:
        """Dimension scales attached to the dataset."""
        return Dimensions(self, super().dims)

    def same_kind(self, opened: h5py.Dataset) -> InMemoryArrayDataset:
        """Return another dataset of the version as one of this class."""
        return InMemoryArrayDataset(opened.id, self._stage, self._top)

    # Reading

    def _elsewhere(self) -> StagedArray | h5py.Dataset | None:
        """Return where the values are, None when they are the dataset's own."""
        if self._stage is None:
            return None
        node = self._stage.node_of(self.id)
        if node.array is None and node.source is not None:
            return h5py.Dataset(node.source)
        return node.array

    def __getitem__(self, args: Any, new_dtype: Any = None) -> Any:
        """Read values; every index h5py takes, and those of ndindex."""
        args = plain(args)
        if self._stage is not None and _names_region(args):
            self._stage.values.thaw(self._stage.node_of(self.id))
        values = self._elsewhere()
        if values is None:
            return super().__getitem__(args, new_dtype)
        return values.__getitem__(args, new_dtype)

    def read_direct(self, dest: NDArray[Any], source_sel: Any = None, dest_sel: Any = None) -> None:
        """Read values into an array, as h5py does."""
        values = self._elsewhere()
        if values is None:
            super().read_direct(dest, source_sel, dest_sel)
        else:
            values.read_direct(dest, source_sel, dest_sel)

    # Writing

    def _own(self) -> StagedArray | None:
        """Return the array that takes changes, None when the dataset itself does."""
        stage = self._writable()
        node = stage.node_of(self.id)
        if node.source is None:
            return node.array
        if node.holds_array:
            return stage.values.edited(node)
        stage.values.thaw(node)
        return None

    def __setitem__(self, args: Any, val: Any) -> None:
        """Write values; every index h5py takes, and those of ndindex."""
        values = self._own()
        if values is None:
            super().__setitem__(plain(args), val)
        else:
            values[plain(args)] = val

    def write_direct(
        self, source: NDArray[Any], source_sel: Any = None, dest_sel: Any = None
    ) -> None:
        """Write values from an array, as h5py does."""
        values = self._own()
        if values is None:
            super().write_direct(source, source_sel, dest_sel)
        else:
            values.write_direct(source, source_sel, dest_sel)

    def resize(self, size: Any, axis: int | None = None) -> None:
        """Resize the dataset, or one axis of it, as h5py does."""
        values = self._own()
        before = self.shape
        super().resize(size, axis)
        if values is not None:
            values.resize(self.shape)
            if any(new < old for new, old in zip(self.shape, before, strict=True)):
                self._writable().node_of(self.id).cut = True

    def make_scale(self, name: str = "") -> None:
        """Make the dataset a dimension scale."""
        self._writable()
        super().make_scale(name)


def _names_region(args: Any) -> bool:
    every = args if isinstance(args, tuple) else (args,)
    return any(isinstance(arg, h5py.RegionReference) for arg in every)
