"""`vh5d.open`."""

from __future__ import annotations

import os

from vh5d.hdf5.atomic_file import DEFAULT_TIMEOUT
from vh5d.versioned.file import VersionedHDF5File


def open(  # noqa: A001 - as in gzip and tarfile
    path: str | os.PathLike[str], mode: str = "r", *, timeout: float = DEFAULT_TIMEOUT
) -> VersionedHDF5File:
    """Open a file of versions: each commit to it is durable as a whole, or did not happen.

    Parameters
    ----------
    path
        The file; what the service writes is such a file too.
    mode
        ``r`` to read; ``r+`` to write a file that exists; ``a`` to write one, new or not; ``w`` or
        ``x`` to write a new one. What exists is never thrown away.
    timeout
        Seconds to wait for other writers, and at each commit for readers.

    Returns
    -------
    VersionedHDF5File
        To be closed, or used as a context manager. While it is open for writing nobody else writes
        the file; others read the versions that are committed.

    Raises
    ------
    ValueError
        The mode is none of these.
    StoreMissingError, NotAStoreError, TargetExistsError
        There is no such file, it holds no versions, or it exists already.
    StoreBusyError
        Somebody else writes it, still when the time is over.
    StoreWriteError
        The disk refuses.

    Examples
    --------
    >>> with vh5d.open("history.h5", "a") as versioned_file:  # doctest: +SKIP
    ...     with versioned_file.stage_version("v1") as group:
    ...         group["x"] = [1, 2, 3]
    """
    return VersionedHDF5File.open(path, mode, timeout=timeout)
