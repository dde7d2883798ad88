"""Configurations to begin with."""

from __future__ import annotations

import glob
import json
from pathlib import Path

_HEAD = """\
# vh5d keeps every state of the files below. Run it: vh5d up --config FILE
# What it will do, in words: vh5d check-config FILE. All settings: docs/policies.md
# Durations carry a unit (500ms, 2s, 10m, 1h30m, 2d), sizes too (512 KiB, 1.5 TB).
"""

_STARTERS = {
    "detector": """\
# For an acquisition that writes frames into HDF5 or NeXus files.

policies:
  - name: detector
    watch: {watch}
    include: ["*.h5", "*.hdf5", "*.nxs"]
    exclude: ["**/scratch/**", "*_tmp*"]

    # The acquisition writes for minutes: wait until it closed the file. Where it writes with
    # SWMR, `while_open: swmr` keeps versions of a file while it grows, one each swmr_interval.
    while_open: wait
    settle: 5s
    max_wait: 1h

    # The instrument comes first: read files at this rate, two at a time.
    limits: {{read_rate: 200 MB/s, concurrency: 2}}

    # Versions that go at night. Without `retention` all stay. A tag keeps a version for good:
    # vh5d tag FILE VERSION NAME
    retention: {{keep_last: 10, keep_within: 7d, keep_daily: 30, keep_monthly: 24}}
""",
    "microscope": """\
# For a microscope whose programs write and edit image files, a few large ones a day.

policies:
  - name: microscope
    watch: {watch}
    include: ["*.h5", "*.hdf5", "*.ims", "*.mat"]
    exclude: ["**/preview/**"]

    # Programs keep a file open while somebody works with it, and save now and then.
    settle: 30s
    max_wait: 8h
    # Saving every minute does not make a version a minute.
    min_interval: 10m

    # An acquisition computer may have little space: versions go to another disk.
    # store: /mnt/archive/vh5d/{{policy}}/{{path}}

    retention: {{keep_last: 5, keep_daily: 14, keep_weekly: 8, keep_yearly: 10}}
""",
    "netcdf": """\
# For netCDF-4 files that models, stations or observers write and correct.

policies:
  - name: netcdf
    watch: {watch}
    include: ["*.nc", "*.nc4"]

    settle: 10s
    max_wait: 30m
    # Tools write files anew without a change: only a change of content makes a version.
    significant: content
    # A dataset that changes with every run, and does not matter by itself, can be left out:
    # datasets: {{exclude: [/time_of_run]}}

    # Corrections matter for years.
    retention: {{keep_last: 20, keep_within: 30d, keep_monthly: 60, keep_yearly: 30}}
""",
    "simulation": """\
# For simulations that append to files, write checkpoints, and are started again.

policies:
  - name: simulation
    watch: {watch}
    include: ["*.h5", "*.hdf5", "*.h5part"]
    exclude: ["**/tmp/**", "core.*"]

    # Runs write for hours, on file systems of clusters, where inotify hears nothing of other
    # machines: `auto` looks at those every poll_interval.
    observer: auto
    poll_interval: 30s
    settle: 1m
    max_wait: 6h

    # At most one version of a file in half an hour; checkpoints are large.
    min_interval: 30m
    limits: {{store_quota: 2 TB, on_quota: prune}}
    retention: {{keep_last: 3, keep_daily: 7, keep_weekly: 4}}
""",
}


def starter(kind: str, watch: Path, *, schema: str | None = None) -> str:
    """Return an annotated configuration.

    Parameters
    ----------
    kind
        ``detector``, ``microscope``, ``netcdf`` or ``simulation``.
    watch
        The directory to watch.
    schema
        The name of a file beside it that has the JSON Schema; None: there is none.
    """
    line = "" if schema is None else f"# yaml-language-server: $schema={schema}\n"
    # JSON is YAML: a path with quotes, colons or spaces stays what it is.
    quoted = json.dumps(_escaped(str(watch)), ensure_ascii=False)
    return line + _HEAD + _STARTERS[kind].format(watch=quoted)


def _escaped(path: str) -> str:
    """Return a path as `watch` has it: no glob, and no reference."""
    return glob.escape(path).replace("${", "$${")
