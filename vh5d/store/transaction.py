"""One commit being staged: chunks, then indexes and headers, then the objects that name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
from vh5d.errors import StoreDamagedError, StoreMissingError, StoreWriteError
from vh5d.hdf5.address import open_many_by_address
from vh5d.hdf5.allocation import allocate
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.block_image import STAGED, UNDEFINED, BlockImage
from vh5d.store import layout
from vh5d.store.chunk_writer import ChunkWriter
from vh5d.store.pools import Pools, open_pools


@dataclass
class Transaction:
    """A commit to one store: nothing is visible before `commit`, nothing is left without it.

    Use it as a context manager; leaving the block without a `commit` throws the work away.

    Attributes
    ----------
    file
        The store as it will be, open for writing.
    pools
        Its pools.
    chunks
        Takes new chunks.
    image
        Takes chunk indexes and object headers.
    created
        Whether the store is new.
    recovered
        What had to be done about a commit that died here before, or None.
    """

    path: Path
    atomic: AtomicFile
    file: h5py.File
    created: bool
    image: BlockImage = field(default_factory=BlockImage)
    placed_nbytes: int = 0
    _done: bool = False

    def __post_init__(self) -> None:
        self.pools: Pools = open_pools(self.file)
        self.chunks = ChunkWriter(self._allocate, self.atomic.pwrite_staged)

    @property
    def recovered(self) -> str | None:
        return self.atomic.recovered

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._done:
            self.atomic.abort()
            self.file.close()
        self.atomic.close()

    def read(self, address: int, nbytes: int) -> bytes:
        """Read the store's bytes, or those of a block that is still staged."""
        if address >= STAGED and address != UNDEFINED:
            return self.image.read(address, nbytes)
        return self.atomic.pread(address, nbytes)

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
        base = self._allocate(len(self.image))
        self.atomic.pwrite_staged(base, self.image.render(base))
        self.placed_nbytes += len(self.image)
        addresses = [self.image.resolve(header, base) for header in headers]
        self.image = BlockImage()
        return [h5py.Dataset(each) for each in open_many_by_address(self.file.id, addresses)]

    @property
    def bytes_added(self) -> int:
        """Bytes of chunks, indexes and headers that this commit brings."""
        return self.chunks.written_nbytes + self.placed_nbytes

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

    def commit(self) -> None:
        """Make it durable, all or nothing.

        Raises
        ------
        StoreWriteError, StoreBusyError, StoreConflictError
            The store is as it was.
        """
        self.chunks.flush()
        self.pools.write()
        try:
            self.file.close()
        except (OSError, RuntimeError) as error:
            self.atomic.abort()
            raise StoreWriteError(f"{self.path}: cannot be written: {error}") from error
        self.atomic.commit()
        self._done = True

    def _allocate(self, nbytes: int) -> int:
        spaces = self.file[layout.SPACES]
        number = int(spaces.attrs["next"])
        spaces.attrs["next"] = number + 1
        return allocate(spaces, str(number), nbytes)


def begin(path: Path, *, create: bool = True, timeout: float = 30.0, mode: int = 0o644) -> Transaction:
    """Begin a commit to the store at `path`, and make the store when there is none.

    Parameters
    ----------
    path
        The store.
    create
        Whether a store may be made.
    timeout
        How long to wait for another writer, in seconds.
    mode
        Permissions of a new store.
    """
    if not path.exists():
        if not create:
            raise StoreMissingError(f"{path}: there is no such store")
        return _begin_new(path, timeout=timeout, mode=mode)
    atomic = AtomicFile.open(path, timeout=timeout)
    try:
        file = h5py.File(atomic, "r+", libver=layout.LIBVER)
        layout.check(file, path)
    except OSError as error:
        atomic.close()
        raise StoreDamagedError(f"{path}: HDF5 cannot open the store: {error}") from error
    except BaseException:
        atomic.close()
        raise
    return Transaction(path, atomic, file, created=False)


def _begin_new(path: Path, *, timeout: float, mode: int) -> Transaction:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreWriteError(
            f"{path.parent}: cannot make the store's directory: {error.strerror}"
        ) from error
    atomic = AtomicFile.create(path, mode=mode, timeout=timeout)
    file = h5py.File(atomic, "w", libver=layout.LIBVER)
    layout.initialise(file)
    return Transaction(path, atomic, file, created=True)


def link_all(group: h5py.Group, names: Iterable[str], objects: Iterable[h5py.Dataset]) -> None:
    """Give placed datasets their names in a group."""
    for name, each in zip(names, objects, strict=True):
        group[name] = each
