"""The file under a `VersionedHDF5File`, and how a commit to it begins and ends."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from vh5d.errors import StoreBusyError, StoreDamagedError, StoreMissingError
from vh5d.hdf5.atomic_file import DEFAULT_TIMEOUT, AtomicFile
from vh5d.hdf5.free_space import freed_space
from vh5d.hdf5.handles import address_at, read_text
from vh5d.hdf5.metadata_cache import begin_lean
from vh5d.hdf5.ranges import intersect
from vh5d.hdf5.store_space import return_space, returnable
from vh5d.interop.moving import Move
from vh5d.store import layout
from vh5d.store.datasets import Read
from vh5d.store.h5py_medium import H5pyMedium
from vh5d.store.pools import Pools
from vh5d.store.reachability import Reached
from vh5d.store.reader import StoreReader, open_store
from vh5d.store.staging import Medium, StagingArea
from vh5d.versioned.graph import Graph
from vh5d.versioned.spill import Drafts


class Backing:
    """A file that somebody else opened.

    It is changed through h5py, so a commit that fails half-way can be taken back as far as
    anybody sees, but not if the process or the machine stops.

    Parameters
    ----------
    file
        The file, open in h5py.
    """

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self.graph = Graph(file)
        self._area: StagingArea | None = None
        self._known_as: tuple[int, ...] = ()
        self._move: Move | None = None
        self._kept: list[h5py.Dataset] = []
        self.drafts = Drafts()

    @property
    def name(self) -> str:
        """Name of the file."""
        return str(self.file.filename)

    @property
    def writable(self) -> bool:
        """Whether versions may be made."""
        return bool(self.file.mode == "r+")

    @contextmanager
    def transaction(self) -> Iterator[StagingArea]:
        """Change the store: all of it is kept when the block ends, nothing if it raises."""
        with self.telling(), self.moved():
            area = self._open_area()
            before = self._remember(area)
            try:
                with self.telling():
                    yield area
                    area.chunks.flush()
                    area.pools.write()
                    if self._move is not None:
                        self._move.finish()
                    self._commit()
            except BaseException:
                self.forget()
                self._take_back(before)
                raise
            self._known_as = self._generation()
            self._tell_of_move()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Have what the disk refuses raised as that, not as what HDF5 makes of it."""
        try:
            yield
        except Exception as error:
            self.explain(error)
            raise

    @contextmanager
    def moved(self) -> Iterator[None]:
        """Have a file of versioned-hdf5 as one of ours: for good if a commit follows."""
        if self._move is not None or not layout.may_be_theirs(self.file):
            yield
            return
        self._area = None
        move = self._move = Move(self.file)
        try:
            with self.telling():
                move.stage(self._open_area)
            yield
        finally:
            if self._move is not None:
                self._move = None
                self.forget()
                self._undo(move)

    def _tell_of_move(self) -> None:
        if self._move is None:
            return
        move, self._move = self._move, None
        message = (
            f"{self.name}: moved from data version {move.data_version} to {layout.DATA_VERSION}"
        )
        for line in (f"{message}; versioned-hdf5 cannot open it any more", *move.lost):
            warnings.warn(line, stacklevel=6)

    def _undo(self, move: Move) -> None:
        self._kept += move.undo()

    def _open_area(self) -> StagingArea:
        # Whoever else has committed through this file has made what is known here stale.
        if self._area is None or self._known_as != self._generation():
            begin_lean(self.file.id)
            self._area = StagingArea(self.file, self._medium())
            self.graph = Graph(self.file)
        return self._area

    def explain(self, error: BaseException | None) -> None:
        """Raise what the disk refused, if that is known, instead of what HDF5 made of it."""

    def forget(self) -> None:
        """Forget what is known of the file: something was deleted from it, or taken back."""
        if self._area is not None:
            self._area.release()
        self._area = None

    def give_back(self, reached: Reached) -> None:  # noqa: ARG002 - for those that can
        """Give back space that nothing leads to any more, if that is possible.

        Through HDF5 it is not. It could use the space for something else as long as the file is
        open, and would forget of it then: it stays known as ours, to be given back by pruning.

        Parameters
        ----------
        reached
            What is in use, as of the last commit.
        """
        self.forget()

    def reader(self) -> Read:
        """Return what reads the store's bytes, by HDF5's addresses."""
        if layout.is_theirs(self.file):
            return _nothing_ours
        return StagingArea(self.file, self._medium()).read

    def _generation(self) -> tuple[int, ...]:
        """Return what is another after every commit, of new versions or to old ones."""
        assert self._area is not None
        return (
            self._area.sequence.read(),
            self._area.versions.id.get_num_objs(),
            self._area.next_space.read(),
            address_at(self.file.id, layout.VERSIONS.encode()),
        )

    def _medium(self) -> Medium:
        return H5pyMedium(self.file)

    def _commit(self) -> None:
        self.file.flush()

    def _remember(self, area: StagingArea) -> _State | None:
        """Return what `_take_back` needs to know of the file as it is."""
        return _State(
            area.sequence.read(),
            read_text(area.versions.id, b"current_version"),
            area.pools,
            area.pools.rows_written(),
        )

    def _take_back(self, before: _State | None) -> None:
        assert before is not None
        versions = self.file[layout.VERSIONS]
        for name in list(versions):
            attributes = versions[name].attrs
            made = int(attributes.get("sequence", before.sequence + 1))
            if name != layout.FIRST_VERSION and made > before.sequence:
                del versions[name]
        versions.attrs.modify("sequence", before.sequence)
        versions.attrs["current_version"] = before.current_version
        pools = self.file[layout.POOLS]
        for name, rows in {**before.pools.rows_read(), **before.rows}.items():
            for table in pools[name].values() if name in pools else ():
                table.resize(rows, axis=0)

    def close(self) -> None:
        """Let the file go; it stays open, as it is not ours."""
        self._area = None
        self.drafts.close()


class ReaderBacking(Backing):
    """A file that we opened for reading.

    Parameters
    ----------
    reader
        It.
    """

    def __init__(self, reader: StoreReader) -> None:
        super().__init__(reader.file)
        self._reader = reader

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class AtomicBacking(Backing):
    """A file that we opened for writing: a commit is durable as a whole, or did not happen.

    Parameters
    ----------
    atomic
        The file; its writer's lock is held until it is closed.
    """

    def __init__(self, atomic: AtomicFile, *, new: bool) -> None:
        self._atomic = atomic
        super().__init__(self._open("w" if new else "r+"))
        try:
            if layout.ROOT not in self.file:
                layout.initialise(self.file)
                self._commit()
            layout.check(self.file, atomic.path, theirs=True)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self._atomic.path)

    def _open(self, mode: str) -> h5py.File:
        return h5py.File(self._atomic, mode, libver=layout.LIBVER)

    def _medium(self) -> Medium:
        return self._atomic

    def explain(self, error: BaseException | None) -> None:
        """Raise what the disk refused instead of what HDF5 made of it."""
        self._atomic.explain(error)

    def _commit(self) -> None:
        self.file.flush()
        self._atomic.commit()

    def _remember(self, area: StagingArea) -> None:
        pass  # the atomic file does

    def _take_back(self, before: _State | None) -> None:  # noqa: ARG002 - all is taken back by the atomic file
        with contextlib.suppress(OSError, RuntimeError):
            self.file.close()
        self._atomic.abort()
        # What a commit left half applied can only be recovered by opening it again.
        with contextlib.suppress(OSError):
            self.file = self._open("r+")

    def give_back(self, reached: Reached) -> None:
        """Make holes where nothing is, whatever HDF5 knows of it."""
        self.forget()
        base = self.file.userblock_size
        dead = np.concatenate([reached.dead, freed_space(self.file.id)]) + base
        below = np.array([[0, self._atomic.base]])
        try:
            return_space(self._atomic, returnable(self._atomic, intersect(dead, below)))
        except StoreBusyError as error:
            warnings.warn(
                f"{error.message}: the space comes back by `vh5d prune {self.name}`", stacklevel=4
            )

    def _undo(self, move: Move) -> None:  # noqa: ARG002 - with all else that was not committed
        self._take_back(None)

    def close(self) -> None:
        """Close the file, and let others write it."""
        self._area = None
        self.drafts.close()
        # What HDF5 still writes goes where all that was not committed goes.
        with contextlib.suppress(OSError, RuntimeError):
            self.file.close()
        self._atomic.close()


def open_backing(path: Path, mode: str, *, timeout: float = DEFAULT_TIMEOUT) -> Backing:
    """Open a file of versions.

    Parameters
    ----------
    path
        The file.
    mode
        ``r``, ``r+``, ``a``, ``w`` or ``x``, as h5py has them; ``w`` is for files that do not
        exist, as a history is not thrown away by opening it.
    timeout
        Seconds to wait for other writers, and at each commit for readers.

    Raises
    ------
    ValueError
        The mode is none of these.
    StoreMissingError, NotAStoreError, TargetExistsError, StoreBusyError, StoreWriteError
    """
    if mode not in ("r", "r+", "a", "w", "x"):
        raise ValueError(f"mode {mode!r}: it is one of r, r+, a, w, x")
    if mode == "r":
        reader = open_store(path, timeout=timeout, theirs=True)
        return ReaderBacking(reader)
    if mode in ("w", "x") or (mode == "a" and not path.exists()):
        return _guarded(AtomicFile.create(path, timeout=timeout), new=True)
    if not path.exists():
        raise StoreMissingError(f"{path}: there is no such file")
    return _guarded(AtomicFile.open(path, timeout=timeout), new=False)


def _guarded(atomic: AtomicFile, *, new: bool) -> Backing:
    with ExitStack() as undo:
        undo.enter_context(atomic)
        try:
            backing = AtomicBacking(atomic, new=new)
        except OSError as error:
            raise StoreDamagedError(f"{atomic.path}: HDF5 cannot open it: {error}") from error
        undo.pop_all()
    return backing


@dataclass(frozen=True)
class _State:
    """What a commit that failed is taken back to."""

    sequence: int
    current_version: str
    pools: Pools
    rows: dict[str, int]


def _nothing_ours(address: int, nbytes: int) -> bytes:  # noqa: ARG001 - a reader's signature
    raise StoreDamagedError(f"nothing of vh5d's is at {address}: versioned-hdf5 wrote the file")
