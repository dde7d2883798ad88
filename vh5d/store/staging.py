"""The staging area of one commit: chunks, then indexes and headers, then objects that name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import h5py

from vh5d.hdf5.address import open_many_by_address
from vh5d.hdf5.allocation import allocate
from vh5d.hdf5.block_image import STAGED, UNDEFINED, BlockImage
from vh5d.hdf5.handles import (
    Number,
    create_attribute,
    has_member,
    open_member,
    replace_attribute,
)
from vh5d.store import chain, layout
from vh5d.store.chunk_writer import ChunkWriter
from vh5d.store.pools import open_pools
from vh5d.store.seals import write_seals

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
        # The next version is likely to begin with these. HDF5 changes none of it but attributes.
        self._placed = 0, b""

    def read(self, address: int, nbytes: int) -> bytes:
        """Read the store's bytes, or those of a block that is still staged."""
        if address >= STAGED and address != UNDEFINED:
            return self.image.read(address, nbytes)
        start, placed = self._placed
        if start <= address and address + nbytes <= start + len(placed):
            return placed[address - start : address - start + nbytes]
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
        base = self.place_image()
        addresses = [BlockImage.resolve(header, base) for header in headers]
        return [h5py.Dataset(each) for each in open_many_by_address(self.file.id, addresses)]

    def place_image(self) -> int:
        """Write the staged blocks into the file; return where the first of them is."""
        base = self._allocate(len(self.image) + GUARD_NBYTES)
        rendered = self.image.render(base)
        self._write(base, rendered)
        self._placed_nbytes += len(self.image)
        self._placed = base, bytes(rendered)
        self.image = BlockImage()
        return base

    @property
    def bytes_added(self) -> int:
        """Bytes of chunks, indexes and headers that this commit brings."""
        return self.chunks.written_nbytes + self._placed_nbytes

    def next_sequence(self) -> int:
        """Return the sequence number of the version being made."""
        return self.sequence.read() + 1

    def finish_version(
        self,
        name: str,
        *,
        previous: str,
        timestamp: datetime,
        make_current: bool = True,
        made: Mapping[bytes, Any] | None = None,
    ) -> None:
        """Make a group a committed version, and a part of the chain.

        Parameters
        ----------
        name
            Of the version; its image is there, if it is to have one.
        previous
            Name of the version that it is based on.
        timestamp
            Its time.
        make_current
            Whether it becomes the current version.
        made
            Of a version that was staged, what was made for it, to be sealed: see `write_seals`.
        """
        versions, sequence = self.versions.id, self.next_sequence()
        moment = timestamp.strftime("%Y-%m-%d %H:%M:%S.%f%z")
        seals = b"" if made is None else write_seals(self.root, name, made)
        group = open_member(versions, name)
        create_attribute(group, b"prev_version", previous)
        create_attribute(group, b"committed", value=True)
        create_attribute(group, b"timestamp", moment)
        create_attribute(group, b"sequence", sequence)
        self.sequence.write(sequence)
        if make_current:
            replace_attribute(versions, b"current_version", name)
        image = self.images[name] if has_member(self.images.id, name) else None
        entry = chain.entry_of(name, timestamp=moment, sequence=sequence, image=image, seals=seals)
        self._chain.append(sequence, entry)

    def _allocate(self, nbytes: int) -> int:
        spaces = self.spaces
        number = self.next_space.read()
        self.next_space.write(number + 1)
        return allocate(spaces, str(number), nbytes) - self._userblock

    def release(self) -> None:
        """Close what is kept open of the file: it is opened again when it is needed."""
        for name in ("root", "versions", "spaces", "images", "sequence", "next_space", "_chain"):
            self.__dict__.pop(name, None)

    # Groups of the store, which stay what they are as long as this is in use

    @cached_property
    def root(self) -> h5py.Group:
        """The group that holds all of the store."""
        return self.file[layout.ROOT]

    @cached_property
    def versions(self) -> h5py.Group:
        """The group of the versions."""
        return self.file[layout.VERSIONS]

    @cached_property
    def spaces(self) -> h5py.Group:
        """The group of the datasets that chunks, indexes and headers lie in."""
        return self.file[layout.SPACES]

    @cached_property
    def images(self) -> h5py.Group:
        """The group of what captured versions have beside their trees."""
        return self.file[layout.IMAGES]

    @cached_property
    def sequence(self) -> Number:
        """The number of the last version."""
        return Number(self.versions.id, b"sequence")

    @cached_property
    def next_space(self) -> Number:
        """The number of the next dataset of `spaces`."""
        return Number(self.spaces.id, b"next")

    @cached_property
    def _chain(self) -> chain.End:
        return chain.End(self.root)

    def _write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self.medium.pwrite_staged(address + self._userblock, data)
