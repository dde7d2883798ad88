"""Filters that files use and nobody here can undo; looked for in a process that may crash.

Run as a program, it reads names of files, each ended by a zero byte, and writes JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import vh5d
from vh5d.policy import Config
from vh5d.service.telling.doctor.finding import Finding
from vh5d.service.watching.rescan import walk

#: Files that are looked into, and seconds that it may take.
SAMPLE, LIMIT = 50, 60.0


def examine(config: Config) -> Iterator[Finding]:
    """Look into some files of each policy."""
    paths: list[Path] = []
    for policy in config.policies:
        found = (
            path
            for place in policy.watched
            for path, _ in walk(
                place.path, config, recursive=place.recursive, entered=lambda _directory: None
            )
        )
        paths += islice(found, SAMPLE)
    if paths:
        yield from _of(paths)


def _of(paths: list[Path]) -> Iterator[Finding]:
    package = str(Path(vh5d.__file__).parent.parent)
    search = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), package]))
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=b"".join(os.fsencode(path) + b"\0" for path in paths),
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Finding("filters", "note", f"{len(paths)} files could not be read in {LIMIT:g} s")
        return
    if done.returncode != 0:
        message = "one of the files ends whoever reads it: the service keeps it by its bytes"
        yield Finding("filters", "note", message)
        return
    missing = json.loads(done.stdout)
    for code, (name, where, count) in missing.items():
        message = (
            f"{count} of {len(paths)} files use filter {code} ({name or 'unnamed'}), e.g. {where}: "
            "they are kept whole, but values can be compared and read with its plugin only"
        )
        mend = f"install the plugin of filter {code}, and name its directory in HDF5_PLUGIN_PATH"
        yield Finding("filters", "note", message, mend)
    if not missing:
        yield Finding("filters", "ok", f"no plugin is missing; files looked into: {len(paths)}")


def look_into(paths: Iterable[Path]) -> dict[int, tuple[str, str, int]]:
    """Return filters that are missing: code to name, an example, the number of files."""
    import h5py

    from vh5d.errors import SourceError
    from vh5d.hdf5.plugins import missing_filters
    from vh5d.hdf5.source_file import SourceFile

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 - makes its filters known
    found: dict[int, tuple[str, str, int]] = {}
    for path in paths:
        with (
            contextlib.suppress(SourceError, OSError, RuntimeError, ValueError),
            SourceFile(path) as source,
            h5py.File(source, "r") as file,
        ):
            for code, (name, where) in {c: (n, w) for c, n, w in missing_filters(file)}.items():
                example, count = f"{path}:/{where}", found.get(code, ("", "", 0))[2]
                found[code] = (name, found[code][1] if code in found else example, count + 1)
    return found


def _main() -> None:
    names = sys.stdin.buffer.read().split(b"\0")[:-1]
    sys.stdout.write(json.dumps(look_into(Path(os.fsdecode(name)) for name in names)))


if __name__ == "__main__":
    _main()
