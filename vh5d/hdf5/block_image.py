"""Metadata blocks laid out one after another, before their place in the file is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from vh5d.hdf5.checksum import lookup3

#: HDF5's undefined address: all bits set (HDF5 File Format Specification 3.0, I.C).
UNDEFINED = 2**64 - 1
#: An address from here on, `UNDEFINED` apart, is an offset in the image being staged.
STAGED = 1 << 62
CHECKSUM_NBYTES = 4


@dataclass(frozen=True)
class _Run:
    """Blocks of one length at even distances."""

    start: int
    count: int
    stride: int
    length: int

    def rows(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The blocks in `frame`, as a (count, length) view."""
        stop = self.start + self.count * self.stride
        return frame[self.start : stop].reshape(self.count, self.stride)[:, : self.length]


class BlockImage:
    """Metadata blocks laid out one after another, whose place in the file is known only in the end.

    A block's address is `STAGED` + its offset until `render` is told where the image goes. Blocks
    end with their checksum, which `render` fills in, for all blocks of one length at once.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._runs: list[_Run] = []
        self._pointers: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        """Bytes staged."""
        return len(self._data)

    def add(
        self, block: bytes | bytearray, *, size: int | None = None, pointers: Sequence[int] = ()
    ) -> int:
        """Stage one block.

        Parameters
        ----------
        block
            Its bytes; the last four are room for its checksum.
        size
            Bytes that it occupies, padded with zeros; its length when not given.
        pointers
            Positions in it of 8-byte addresses that may be staged ones.

        Returns
        -------
        Its staged address.
        """
        row = np.frombuffer(block, np.uint8)[np.newaxis]
        return int(
            self.add_rows(row, size=len(block) if size is None else size, pointers=pointers)[0]
        )

    def add_rows(
        self, rows: NDArray[np.uint8], *, size: int, pointers: Sequence[int] = ()
    ) -> NDArray[np.uint64]:
        """Stage many blocks of one shape: `add` for each row of a (n, nbytes) array.

        Returns
        -------
        (n,) array of staged addresses.
        """
        n, length = rows.shape
        if not CHECKSUM_NBYTES <= length <= size:
            raise ValueError(f"a block of {length} bytes does not fit in {size}")
        start = len(self._data)
        run = _Run(start, n, size, length)
        self._data.extend(bytes(n * size))
        run.rows(np.frombuffer(self._data, np.uint8))[:] = rows
        self._runs.append(run)
        offsets = start + size * np.arange(n, dtype=np.int64)
        if len(pointers):
            self._pointers.append(np.add.outer(offsets, np.asarray(pointers, np.int64)).ravel())
        return offsets.astype(np.uint64) + np.uint64(STAGED)

    def read(self, address: int, size: int) -> bytes:
        """Staged bytes at a staged address; checksums are still missing, pointers still staged."""
        offset = address - STAGED
        if offset < 0 or offset + size > len(self._data):
            raise ValueError(f"{size} bytes at {address:#x} are not in the image")
        return bytes(self._data[offset : offset + size])

    def render(self, base: int) -> bytearray:
        """The bytes to be written at address `base`: pointers made real, checksums in place."""
        data = bytearray(self._data)
        frame = np.frombuffer(data, np.uint8)
        self._settle_pointers(frame, base)
        by_length = attrgetter("length")
        for length, group in itertools.groupby(sorted(self._runs, key=by_length), by_length):
            runs = list(group)
            views = [run.rows(frame) for run in runs]
            body = length - CHECKSUM_NBYTES
            sums = lookup3(np.concatenate([view[:, :body] for view in views]))
            parts = sums.astype("<u4").view(np.uint8).reshape(-1, CHECKSUM_NBYTES)
            ends = np.cumsum([run.count for run in runs])
            for view, end in zip(views, ends, strict=True):
                view[:, body:] = parts[end - len(view) : end]
        return data

    def _settle_pointers(self, frame: NDArray[np.uint8], base: int) -> None:
        if not self._pointers:
            return
        where = np.concatenate(self._pointers)[:, np.newaxis] + np.arange(8)
        addresses = frame[where].view("<u8")[:, 0]
        staged = (addresses >= STAGED) & (addresses != UNDEFINED)
        addresses[staged] = addresses[staged] - np.uint64(STAGED) + np.uint64(base)
        frame[where] = addresses.astype("<u8").view(np.uint8).reshape(-1, 8)

    @staticmethod
    def resolve(address: int, base: int) -> int:
        """Where a staged address lies in the file once the image is at `base`."""
        if STAGED <= address != UNDEFINED:
            return base + address - STAGED
        return address
