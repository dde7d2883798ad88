"""What a process that parses files of strangers may take of the machine."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from vh5d.hdf5.plugins import forget_plugin_directories

#: Bytes that a capture may map in any case: the largest chunk of HDF5, 4 GiB, read and packed.
LEAST_MEMORY = 12 << 30
#: A configuration of the environment: plugins may be loaded from HDF5_PLUGIN_PATH.
ALLOW_PLUGINS = "VH5D_ALLOW_PLUGINS"
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def confine() -> None:
    """Confine this process: no more than the machine's memory, no core dumps, no plugins.

    A file that asks for more memory gets a `MemoryError`; a core dump would hold the sources'
    content. Time is limited by the worker, which ends a process that takes too long.
    """
    _limit(resource.RLIMIT_AS, max(LEAST_MEMORY, memory()))
    _limit(resource.RLIMIT_CORE, 0)
    if os.environ.get(ALLOW_PLUGINS) != "1":
        forget_plugin_directories()


def memory() -> int:
    """Bytes of memory that this machine, or container, has."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return physical


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(what, (most, hard))
