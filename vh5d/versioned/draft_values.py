"""The values of the datasets of a draft: the committed ones with changes, or new ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h5py
from numpy.typing import NDArray

from vh5d.hdf5.stubs import copy_values
from vh5d.versioned.array import StagedArray
from vh5d.versioned.array_sources import write_block
from vh5d.versioned.node import Node
from vh5d.versioned.spill import DEFAULT_BUDGET, Scratch


class DraftValues:
    """Keeps values beside the draft, until they are committed or the draft has to have them.

    Parameters
    ----------
    scratch
        Where those go that were changed.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._held_nbytes = 0

    def edited(self, node: Node) -> StagedArray:
        """Return the array that takes the changes to a dataset's committed values."""
        if node.array is None:
            stub, source = h5py.Dataset(node.id), h5py.Dataset(node.source)
            node.array = StagedArray(
                stub.shape,
                stub.dtype,
                stub.chunks,
                stub.maxshape,
                stub.fillvalue,
                source,
                scratch=self._scratch,
                stub=node.id,
            )
        return node.array

    def may_hold(self, nbytes: int) -> bool:
        """Whether an array of so many bytes may be kept in memory until the commit."""
        return self._held_nbytes + nbytes <= DEFAULT_BUDGET

    def hold(self, node: Node, data: NDArray[Any]) -> None:
        """Keep the values of a new dataset of chunks, which the draft does not have.

        Parameters
        ----------
        node
            The dataset, of the shape and the type of `data`.
        data
            Numbers; they are copied.
        """
        stub = h5py.Dataset(node.id)
        if stub.chunks is None:
            stub[...] = data
            return
        self._held_nbytes += data.nbytes
        node.array = StagedArray.from_array(
            data, stub.chunks, stub.maxshape, fillvalue=stub.fillvalue, scratch=self._scratch
        )

    def thaw(self, node: Node) -> None:
        """Take the values of a committed dataset over as a whole."""
        if node.array is not None:
            write_chunks(node.id, node.array.to_chunks())
        elif node.source is not None:
            copy_values(node.source, node.id)
        node.source = node.array = None


def write_chunks(dataset_id: Any, chunks: Iterable[tuple[tuple[int, ...], NDArray[Any]]]) -> None:
    """Write whole chunks into a dataset.

    Parameters
    ----------
    dataset_id
        h5py's DatasetID.
    chunks
        Places in the chunk grid, and values that have the shape of a chunk.
    """
    dataset = h5py.Dataset(dataset_id)
    for scaled, values in chunks:
        region = tuple(
            slice(at * size, min((at + 1) * size, length))
            for at, size, length in zip(scaled, dataset.chunks, dataset.shape, strict=True)
        )
        within = tuple(slice(0, part.stop - part.start) for part in region)
        write_block(dataset, region, values[within])
