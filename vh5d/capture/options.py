"""What a capture may be told, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from vh5d.store.companions import Companion

Compression = Literal["auto", "keep", "none", "zstd"]
Significant = Literal["bytes", "content"]
Busy = Literal["refuse", "try", "swmr"]
KeptAs = Literal["tree", "bytes", "content"]


@dataclass(frozen=True)
class CaptureOptions:
    """How to capture.

    Attributes
    ----------
    compression
        ``auto``: what the source compressed stays as it is, byte for byte; what it did not is
        compressed with HDF5's shuffle and deflate. ``zstd``: the same with Zstandard, which
        readers need a plugin for. ``keep``: chunks as they are. ``none``: pages too.
    significant
        Which change makes a version: any of ``bytes``, or of ``content`` only.
    busy
        What to do about a source that somebody has open for writing: ``refuse``, ``try``, or
        ``swmr``: capture one that is written with SWMR as it grows.
    exact
        Whether to keep what a restore bit for bit needs, beside the content.
    counts
        Takes the full path of an object; whether a change of it makes a version. None: any does,
        and any change of bytes. Whatever counts, a version has everything.
    follow
        Takes the path of a file that the source leads to (by external links, virtual datasets,
        external storage); keeps it, and returns what it kept, or why it does not. None: such
        files are not looked at. A change of one makes a version of the source.
    version_name
        Takes the version's number and its time, and returns its name; None: v1, v2, ….
    file_size
        Refuse sources larger than this many bytes.
    read_rate
        Read the source no faster than this many bytes a second.
    store_mode
        Permissions of the store; None: those who may read the source.
    store_group
        The group of the store, by name; None: that of the process.
    parse
        False: keep the bytes alone, of a source whose parsing ended processes.
    threads
        How many threads hash and compress; None for one a core.
    timeout
        How long to wait for other users of the store, in seconds.
    real
        What the path of the source must lead to, links resolved; None: anywhere.
    """

    compression: Compression = "auto"
    significant: Significant = "bytes"
    busy: Busy = "refuse"
    exact: bool = True
    counts: Callable[[str], bool] | None = None
    follow: Callable[[Path], Companion | str] | None = None
    version_name: Callable[[int, datetime], str] | None = None
    file_size: int | None = None
    read_rate: float | None = None
    store_mode: int | None = None
    store_group: str | None = None
    parse: bool = True
    threads: int | None = None
    timeout: float = 30.0
    real: Path | None = None


@dataclass(frozen=True)
class CaptureResult:
    """What a capture did.

    Attributes
    ----------
    version
        The new version's name; None when nothing had changed.
    bytes_added
        Bytes of chunks, pages, indexes and headers that the store took in.
    source_bytes
        The size of the source.
    seconds
        How long it took.
    kept_as
        ``tree``, with which the file can be made again bit for bit; ``content``: the tree alone;
        ``bytes`` for a source that HDF5 cannot open.
    companions
        The files that the source leads to, as they were kept with it.
    read_bytes
        Bytes of chunks and pages that were read and hashed.
    warnings
        What could not be kept in the tree (it is in the image all the same).
    """

    source: Path
    store: Path
    version: str | None
    changed: bool
    bytes_added: int
    source_bytes: int
    seconds: float
    kept_as: KeptAs
    warnings: tuple[str, ...] = ()
    read_bytes: int = 0
    companions: tuple[Companion, ...] = ()


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)
