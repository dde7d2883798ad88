"""The staging area of one commit: chunks, then indexes and headers, then objects that name them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import h5py

from vh5d.hdf5.address import open_many_by_address
from vh5d.hdf5.allocation import allocate
from vh5d.hdf5.block_image import STAGED, UNDEFINED, BlockImage
from vh5d.store import chain, layout
from vh5d.store.chunk_writer import ChunkWriter
from vh5d.store.pools import open_pools

# HDF5 enlarges an object header where it is when free space follows: a header that ended with its
# space would grow out of it.
GUARD_NBYTES = 8


class Medium(Protocol):
    """The bytes of a store's file, beside what HDF5 reads and writes of it.

    Offsets are those of the file itself: a userblock counts.
    """

    def pread(self, address: int, nbytes: int) -> bytes:
        """Return bytes at an offset of the file; safe to call from several threads."""

    def pwrite_staged(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes where HDF5 allocated room for them."""


class StagingArea:
    """What every commit needs, whoever makes it.

    Addresses are HDF5's: they count from the end of the userblock.

    Parameters
    ----------
    file
        The store as it will be, open for writing.
    medium
        Reads and writes its bytes.

    Attributes
    ----------
    pools
        The store's pools.
    chunks
        Takes new chunks.
    image
        Takes chunk indexes and object headers.
    """

    def __init__(self, file: h5py.File, medium: Medium) -> None:
        self.file = file
        self.medium = medium
        self.pools = open_pools(file)
        self.chunks = ChunkWriter(self._allocate, self._write)
        self.image = BlockImage()
        self._userblock = int(file.userblock_size)
        self._placed_nbytes = 0

    def read(self, address: int, nbytes: int) -> bytes:
        """Read the store's bytes, or those of a block that is still staged."""
        if address >= STAGED and address != UNDEFINED:
            return self.image.read(address, nbytes)
        return self.medium.pread(address + self._userblock, nbytes)

    def place(self, headers: Sequence[int]) -> list[h5py.Dataset]:
        """Write the staged blocks into the file and open the datasets whose headers these are.

        Parameters
        ----------
        headers
            Staged addresses of object headers.
        """
        self.chunks.flush()
        if not len(self.image):
            return []
        base = self._allocate(len(self.image) + GUARD_NBYTES)
        self._write(base, self.image.render(base))
        self._placed_nbytes += len(self.image)
        addresses = [self.image.resolve(header, base) for header in headers]
        self.image = BlockImage()
        return [h5py.Dataset(each) for each in open_many_by_address(self.file.id, addresses)]

    @property
    def bytes_added(self) -> int:
        """Bytes of chunks, indexes and headers that this commit brings."""
        return self.chunks.written_nbytes + self._placed_nbytes

    def next_sequence(self) -> int:
        """Return the sequence number of the version being made."""
        return int(self.file[layout.VERSIONS].attrs["sequence"]) + 1

    def finish_version(
        self, name: str, *, previous: str, timestamp: datetime, make_current: bool = True
    ) -> None:
        """Set the attributes that make a group a committed version."""
        versions = self.file[layout.VERSIONS]
        sequence = self.next_sequence()
        attributes = versions[name].attrs
        attributes["prev_version"] = previous
        attributes["committed"] = True
        attributes["timestamp"] = timestamp.strftime("%Y-%m-%d %H:%M:%S.%f%z")
        attributes["sequence"] = sequence
        versions.attrs["sequence"] = sequence
        if make_current:
            versions.attrs["current_version"] = name
        chain.append(self.file, name)

    def _allocate(self, nbytes: int) -> int:
        spaces = self.file[layout.SPACES]
        number = int(spaces.attrs["next"])
        spaces.attrs.modify("next", number + 1)
        return allocate(spaces, str(number), nbytes) - self._userblock

    def _write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self.medium.pwrite_staged(address + self._userblock, data)
