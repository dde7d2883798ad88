"""Small stores made in steps that may crash, and what is seen of a store afterwards."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vh5d.capture.capture import capture
from vh5d.capture.options import CaptureOptions
from vh5d.capture.repair import repair
from vh5d.capture.restore import restore
from vh5d.errors import StoreWriteError, TargetExistsError, VersionNotFoundError
from vh5d.hdf5.atomic_file import AtomicFile
from vh5d.hdf5.disk import Disk
from vh5d.interop.importing import import_file
from vh5d.store import layout
from vh5d.store.compact import compact
from vh5d.store.layout import FIRST_VERSION, VERSIONS
from vh5d.store.prune import prune
from vh5d.store.tags import tag, untag
from vh5d.store.verify import verify
from vh5d.store.versions import read_tags
from vh5d.versioned.backing import _guarded
from vh5d.versioned.file import VersionedHDF5File
from vh5d.versioned.maintenance import delete_versions

NOTHING = "no store"
STORE = "store.h5"
LONG_AGO = 1_600_000_000
OPTIONS = CaptureOptions(threads=1, timeout=2.0)

Run = Callable[[Path, Disk | None], object]


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory, if there is such a thing here; its name is always as long."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    path = Path(tempfile.mkdtemp(prefix="vh5d-", dir=parent)).resolve()
    try:
        yield path
    finally:
        shutil.rmtree(path)


@dataclass(frozen=True)
class Step:
    """Something done to a store over a disk, to the end or not at all."""

    kind: str
    run: Run


def fingerprint(store: Path) -> str:
    """A digest of all that plain h5py finds in a store; OSError if it refuses the store."""
    with h5py.File(store, "r") as file:
        versions = file.get(VERSIONS)
        if versions is None:
            return _digest(file)
        return f"{_digest(versions)} {sorted(read_tags(file).items())}"


def _digest(group: h5py.Group) -> str:
    hasher = hashlib.blake2b(digest_size=16)

    def tell(*values: Any) -> None:
        for value in values:
            if isinstance(value, np.ndarray) and value.dtype.kind != "O":
                hasher.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
            else:
                hasher.update(repr(value.tolist() if hasattr(value, "tolist") else value).encode())

    def visit(path: str, group: h5py.Group) -> None:
        tell(path, sorted((name, repr(value)) for name, value in group.attrs.items()))
        for name in group:
            node = group[name]
            if isinstance(node, h5py.Group):
                visit(f"{path}/{name}", node)
            else:
                tell(f"{path}/{name}", node.dtype, node[()])
                tell(sorted((key, repr(value)) for key, value in node.attrs.items()))

    visit("", group)
    return hasher.hexdigest()


@dataclass
class Scene:
    """Steps that follow one another.

    Attributes
    ----------
    work
        A directory for sources and restored files, apart from the simulated one.
    flagged
        Whether the format has a flag that keeps plain HDF5 out of a store half written.
    links
        Whether the file system has hard links.
    complete
        Checks all of a store; a digest of its state.
    """

    name: str
    work: Path
    steps: list[Step]
    flagged: bool = True
    links: bool = True
    complete: Callable[[Path], str] = fingerprint


# A store of captures.


def write_source(state: int, path: Path) -> None:
    """A source of a few kilobytes, in one of its states."""
    noise = np.random.default_rng(state)
    with h5py.File(path, "w", libver="v110") as file:
        frames = file.create_dataset(
            "frames", (6, 20, 20), "u2", chunks=(1, 20, 20), maxshape=(None, 20, 20), compression=1
        )
        frames[:] = np.arange(400).reshape(20, 20)
        frames[state % 6] = noise.integers(0, 4000, (20, 20))
        if state % 3 == 1:
            frames.resize(8, axis=0)
        file["line"] = np.linspace(0, 1, 300) + state
        file.create_dataset("noise", data=noise.integers(0, 256, 24_000, "u1"), chunks=(8_000,))
        file["group/steady"] = np.arange(50)
        file["group"].attrs["state"] = state
        file["group/words"] = np.array(["beam", "on" * state], object)
        file["scalar"] = state


def history(work: Path) -> Scene:
    """A store that is made, captured to, pruned and compacted."""
    source = work / "source.h5"

    def at(number: int) -> Callable[[], datetime]:
        return lambda: datetime(2026, 1, 1, 0, number, tzinfo=UTC)

    def capturing(state: int, number: int) -> Run:
        kept = work / f"state{state}.h5"
        if not kept.exists():
            write_source(state, kept)

        def run(store: Path, disk: Disk | None) -> object:
            shutil.copyfile(kept, source)
            os.utime(source, (LONG_AGO + number, LONG_AGO + number))
            return capture(source, store, options=OPTIONS, clock=at(number), disk=disk)

        return run

    def pruning(*names: str) -> Run:
        return lambda store, disk: prune(
            store, lambda each: each.name in names, timeout=2.0, disk=disk
        )

    states = {"v1": 0, "v2": 1, "v3": 2, "v4": 1, "v5": 3, "v6": 4}

    def complete(store: Path) -> str:
        found = verify(store, threads=1)
        assert found.ok, found.problems[:3]
        with h5py.File(store, "r") as file:
            names = [name for name in file[VERSIONS] if name != FIRST_VERSION]
        for name in names:
            target = work / "restored.h5"
            restore(store, name, target, overwrite=True)
            assert target.read_bytes() == (work / f"state{states[name]}.h5").read_bytes(), name
        return fingerprint(store)

    steps = [
        Step("create", capturing(0, 1)),
        Step("capture", capturing(1, 2)),
        Step("capture", capturing(2, 3)),
        Step("capture", capturing(1, 4)),
        Step("prune", pruning("v1", "v3")),
        Step("capture", capturing(3, 5)),
        Step("prune", pruning("v2", "v4")),
        Step("compact", lambda store, disk: compact(store, timeout=2.0, disk=disk)),
        Step("capture", capturing(4, 6)),
    ]
    return Scene("history", work, steps, complete=complete)


def tagged(work: Path) -> Scene:
    """A store whose versions get tags, lose them, and go with them."""
    source = work / "source.h5"

    def capturing(number: int) -> Run:
        def run(store: Path, disk: Disk | None) -> object:
            with h5py.File(source, "w", libver="v110") as file:
                file["line"] = np.arange(100) + number
            os.utime(source, (LONG_AGO + number, LONG_AGO + number))
            when = datetime(2026, 1, 1, 0, number, tzinfo=UTC)
            return capture(source, store, options=OPTIONS, clock=lambda: when, disk=disk)

        return run

    def tagging(version: str, name: str) -> Run:
        return lambda store, disk: tag(store, version, name, move=True, timeout=2.0, disk=disk)

    def untagging(store: Path, disk: Disk | None) -> None:
        with contextlib.suppress(VersionNotFoundError):
            untag(store, "last", timeout=2.0, disk=disk)

    def pruning(store: Path, disk: Disk | None) -> object:
        return prune(store, lambda each: each.sequence == 1, tagged=True, timeout=2.0, disk=disk)

    def complete(store: Path) -> str:
        found = verify(store, threads=1)
        assert found.ok, found.problems[:3]
        return fingerprint(store)

    steps = [
        Step("create", capturing(1)),
        Step("tag", tagging("v1", "first")),
        Step("capture", capturing(2)),
        Step("tag", tagging("v2", "last")),
        Step("tag", tagging("v1", "last")),
        Step("prune", pruning),
        Step("tag", tagging("v2", "last")),
        Step("untag", untagging),
    ]
    return Scene("tagged", work, steps, complete=complete)


# A file that plain h5py changes in place.


def _first(file: h5py.File) -> None:
    for i in range(4):
        file.create_dataset(f"first/d{i}", data=np.arange(600) + i, chunks=(100,))
    file["note"] = "old"
    file["last"] = np.arange(4000)


def _grow(file: h5py.File) -> None:
    file["first/d1"][50:250] = 7
    file["second/x"] = np.ones(3000)
    file["first"].attrs["seen"] = [1, 2, 3]


def _in_place(file: h5py.File) -> None:
    file["last"][1000:3000] = 5


def _regrow(file: h5py.File) -> None:
    del file["second"]
    file.flush()
    file["again"] = np.arange(2000)


def _shrink(file: h5py.File) -> None:
    del file["again"]
    del file["last"]
    file["first/d2"][:] = -1


def _editing(change: Callable[[h5py.File], None], libver: tuple[str, str]) -> Run:
    def run(store: Path, disk: Disk | None) -> object:
        new = not store.exists()
        begin = AtomicFile.create if new else AtomicFile.open
        with begin(store, disk=disk, timeout=2.0) as atomic:
            try:
                with h5py.File(atomic, "w" if new else "r+", libver=libver) as file:
                    if new or not _done(file, change):
                        change(file)
                        file.attrs["done"] = change.__name__
            except (OSError, RuntimeError, KeyError, ValueError):
                # HDF5 met the zeros that it was given where the disk failed.
                if atomic.error is None:
                    raise
            atomic.commit()

    return run


def _done(file: h5py.File, change: Callable[[h5py.File], None]) -> bool:
    return bool(file.attrs.get("done") == change.__name__)


def _edits(
    name: str, libver: tuple[str, str], *, flagged: bool = True, links: bool = True
) -> Callable[[Path], Scene]:
    changes = (_grow, _in_place, _regrow, _shrink)
    steps = [
        Step("create", _editing(_first, libver)),
        *(Step("commit", _editing(change, libver)) for change in changes),
    ]
    return lambda work: Scene(name, work, steps, flagged=flagged, links=links)


# Versions that are staged from Python.


@contextmanager
def _opened(store: Path, disk: Disk | None) -> Iterator[VersionedHDF5File]:
    """What `vh5d.open` opens, over another disk."""
    new = not store.exists()
    atomic = (AtomicFile.create if new else AtomicFile.open)(store, disk=disk, timeout=2.0)
    file = VersionedHDF5File.__new__(VersionedHDF5File)
    file._backing = _guarded(atomic, new=new)
    with file:
        yield file


def _staging(name: str, change: Callable[[Any], object]) -> Run:
    def run(store: Path, disk: Disk | None) -> None:
        with _opened(store, disk) as file:
            if name not in file:
                with file.stage_version(name, timestamp=datetime(2026, 1, 1, tzinfo=UTC)) as group:
                    change(group)

    return run


def _deleting(name: str) -> Run:
    def run(store: Path, disk: Disk | None) -> None:
        with _opened(store, disk) as file:
            if name in file:
                delete_versions(file, name)

    return run


def versions(work: Path) -> Scene:
    """A file of versions that is made, changed twice, and thinned."""

    def begin(store: Path, disk: Disk | None) -> None:
        with _opened(store, disk):
            pass

    def first(group: Any) -> None:
        group.create_dataset("frames", data=np.arange(8000).reshape(20, 400), chunks=(5, 100))
        group.create_dataset("group/line", data=np.linspace(0, 1, 200))

    def second(group: Any) -> None:
        group["frames"][3:9, 50:150] = 7
        group["group"].attrs["state"] = 2

    def third(group: Any) -> None:
        group["frames"].resize((25, 400))
        del group["group/line"]
        group.create_dataset("words", data=np.array([b"beam", b"on"]))

    def complete(store: Path) -> str:
        found = verify(store, threads=1)
        assert found.ok, found.problems[:3]
        return fingerprint(store)

    steps = [
        Step("create", begin),
        Step("version", _staging("a", first)),
        Step("version", _staging("b", second)),
        Step("version", _staging("c", third)),
        Step("delete", _deleting("b")),
        Step("delete", _deleting("a")),
    ]
    return Scene("versions", work, steps, complete=complete)


# Files of versioned-hdf5.

THEIRS = Path(__file__).parents[1] / "data" / "versioned-hdf5" / "2.1.0.h5.gz"


def _theirs() -> bytes:
    return gzip.decompress(THEIRS.read_bytes())


def _complete_or_theirs(store: Path) -> str:
    with h5py.File(store, "r") as file:
        ours = not layout.is_theirs(file)
    if ours:
        found = verify(store, threads=1)
        assert found.ok, found.problems[:3]
    return fingerprint(store)


def imported(work: Path) -> Scene:
    """A store that is made of a file of versioned-hdf5, and gets a version."""
    theirs = work / "theirs.h5"
    theirs.write_bytes(_theirs())

    def importing(store: Path, disk: Disk | None) -> None:
        with contextlib.suppress(TargetExistsError):
            import_file(theirs, store, timeout=2.0, disk=disk)

    steps = [Step("import", importing), Step("version", _staging("new", _first_of_ours))]
    return Scene("imported", work, steps, complete=_complete_or_theirs)


def moved(work: Path) -> Scene:
    """A file of versioned-hdf5 that becomes ours with the first commit."""

    def placing(store: Path, disk: Disk | None) -> None:
        if not store.exists():
            with AtomicFile.create(store, disk=disk, timeout=2.0) as atomic:
                atomic.write(_theirs())
                atomic.commit()

    def moving(store: Path, disk: Disk | None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it moves
            _staging("new", _first_of_ours)(store, disk)

    steps = [
        Step("create", placing),
        Step("move", moving),
        Step("delete", _deleting("second")),
    ]
    return Scene("moved", work, steps, flagged=False, complete=_complete_or_theirs)


def _first_of_ours(group: Any) -> None:
    group["numbers"][0] = 99
    group.create_dataset("ours", data=np.arange(300), chunks=(100,))


# A store that is damaged, and repaired.


def repaired(work: Path) -> Scene:
    """A store with a wrong chunk and a wrong hash, which its source and a digest make right."""
    source = work / "source.h5"
    write_source(1, source)
    os.utime(source, (LONG_AGO, LONG_AGO))
    options = replace(OPTIONS, compression="none")

    def capturing(store: Path, disk: Disk | None) -> object:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return capture(source, store, options=options, clock=lambda: now, disk=disk)

    def damaging(store: Path, disk: Disk | None) -> None:
        with h5py.File(store, "r") as file:
            chunk = file[VERSIONS]["v1/noise"].id.get_chunk_info(1).byte_offset
            row = file[f"{layout.POOLS}/raw/hash_table"].id.get_chunk_info(0).byte_offset
        with AtomicFile.open(store, disk=disk, timeout=2.0) as atomic:
            for address in (chunk, row):
                atomic.seek(address)
                atomic.write(b"damaged")
            atomic.commit()

    def repairing(store: Path, disk: Disk | None) -> object:
        result = repair(store, source=source, timeout=2.0, disk=disk)
        if not result.ok:  # it says what is left, and has done nothing that it does not say
            raise StoreWriteError(f"{store}: {len(result.left)} problems are left")
        return result

    def complete(store: Path) -> str:
        with h5py.File(store, "r") as file, h5py.File(source, "r") as whole:
            damaged = not np.array_equal(file[VERSIONS]["v1/noise"], whole["noise"])
        assert damaged is not verify(store, threads=1).ok
        return fingerprint(store)

    steps = [Step("create", capturing), Step("damage", damaging), Step("repair", repairing)]
    return Scene("repaired", work, steps, complete=complete)


SCENES: dict[str, Callable[[Path], Scene]] = {
    "history": history,
    "tagged": tagged,
    "versions": versions,
    "imported": imported,
    "moved": moved,
    "repaired": repaired,
    "edits": _edits("edits", ("v110", "v110")),
    "no links": _edits("no links", ("v110", "v110"), links=False),
    "old format": _edits("old format", ("earliest", "v108"), flagged=False),
}
